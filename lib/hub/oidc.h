// SPDX-License-Identifier: Apache-2.0
// Trusted publishing from CI: the identity token of the CI's provider is exchanged for a token of the hub
// that lives for an hour, so that no secret is stored (RFC 8693). As huggingface_hub 2.4.0, _oidc.py.
#pragma once

#include "hub/session.h"
#include "net/environment.h"

namespace mu {

// True where HF_OIDC_RESOURCE asks for it.
bool wants_oidc();

// The identity token comes from HF_OIDC_ID_TOKEN or, on GitHub Actions, from its token service. Throws
// kRemote where the exchange is refused; there is no way back to other tokens. `session` has no token.
Token exchange_oidc(HubSession& session);

}  // namespace mu
