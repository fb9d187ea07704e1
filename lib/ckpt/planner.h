// SPDX-License-Identifier: Apache-2.0
// The plan: a pure function of facts and policy.
#pragma once

#include <vector>

#include "ckpt/facts.h"
#include "ckpt/plan.h"
#include "ckpt/policy.h"

namespace mu {

// The same facts and policy give the same plan. Kept whatever the policy says: the newest resumable
// checkpoint, the run's best one, one that is being written, one that a link from outside leads to, pinned
// ones, and what can't be looked at. Throws kUsage where --keep-best can't tell which direction is better.
Plan make_plan(const std::vector<RunFacts>& runs, const Policy& policy);

}  // namespace mu
