// SPDX-License-Identifier: Apache-2.0
// The plan for one run: what protects a checkpoint, which rules keep it, what happens to torn ones, what is
// slimmed.
#pragma once

#include "base/error.h"
#include "ckpt/facts.h"
#include "ckpt/plan.h"
#include "ckpt/policy.h"

namespace mu {

// Throws kUsage if --keep-best can't tell whether lower or higher is better.
RunPlan plan_run(const RunFacts& run, const Policy& policy);

// The refusal to remove anything when no checkpoint can be resumed from.
Error nothing_resumable(const RunFacts& run);

}  // namespace mu
