// SPDX-License-Identifier: Apache-2.0
// Trusted publishing from CI: exchanges the identity token of the CI's provider for a token of the hub that
// lives for an hour, so that no secret has to be stored (RFC 8693). Source: huggingface_hub 2.4.0 (_oidc.py).
#pragma once

#include "hub/session.h"
#include "net/environment.h"

namespace mu {

// Whether HF_OIDC_RESOURCE asks for it.
bool wants_oidc();

// Takes the identity token from HF_OIDC_ID_TOKEN or, on GitHub Actions, from its token service. Throws
// kRemote if the exchange is refused; other tokens are not tried. `session` has no token.
Token exchange_oidc(HubSession& session);

}  // namespace mu
