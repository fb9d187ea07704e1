// SPDX-License-Identifier: Apache-2.0
#include "ckpt/planner.h"

#include <algorithm>

#include "ckpt/ledger.h"
#include "ckpt/limits.h"
#include "ckpt/run_plan.h"

namespace mu {

Plan make_plan(const std::vector<RunFacts>& runs, const Policy& policy) {
  Plan plan;
  Ledger ledger(runs);
  plan.bytes_before = ledger.used();
  for (std::size_t r = 0; r < runs.size(); ++r) {
    RunPlan& run = plan.runs.emplace_back();
    if (!runs[r].failure) run = plan_run(runs[r], policy);
    run.bytes_before = Ledger::used_by(runs[r]);
    for (std::size_t i = 0; i < run.items.size(); ++i) {
      if (run.items[i].verb == Verb::kRemove) run.items[i].frees = ledger.remove(r, i);
      if (run.items[i].verb == Verb::kSlim) run.items[i].frees = ledger.slim(r, i);
    }
  }
  apply_limits(runs, policy, ledger, plan);
  plan.bytes_after = ledger.used();
  for (std::size_t r = 0; r < runs.size(); ++r) {
    RunPlan& run = plan.runs[r];
    std::uint64_t freed = 0;
    for (std::size_t i = 0; i < run.items.size(); ++i)
      freed += runs[r].checkpoints[i].is_staging ? 0 : run.items[i].frees;
    run.bytes_after = run.bytes_before - std::min(run.bytes_before, freed);
  }
  return plan;
}

}  // namespace mu
