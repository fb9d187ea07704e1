// SPDX-License-Identifier: Apache-2.0
// Limits over all runs together: the oldest unprotected checkpoints go until the limits are met.
#pragma once

#include <vector>

#include "ckpt/facts.h"
#include "ckpt/ledger.h"
#include "ckpt/plan.h"
#include "ckpt/policy.h"

namespace mu {

// Changes verbs in `plan`, strikes what goes from the ledger, and sets over_total and short_of_free.
void apply_limits(const std::vector<RunFacts>& runs, const Policy& policy, Ledger& ledger, Plan& plan);

}  // namespace mu
