// SPDX-License-Identifier: Apache-2.0
// The plan: a pure function of facts and policy.
#pragma once

#include <vector>

#include "ckpt/facts.h"
#include "ckpt/plan.h"
#include "ckpt/policy.h"

namespace mu {

// The same facts and policy give the same plan. Always kept are: the newest resumable checkpoint, the best of
// the run, one that is being written, one that a link from outside points to, pinned ones, and those that
// can't be read. Throws kUsage if --keep-best can't tell whether lower or higher is better.
Plan make_plan(const std::vector<RunFacts>& runs, const Policy& policy);

}  // namespace mu
