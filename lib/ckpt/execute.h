// SPDX-License-Identifier: Apache-2.0
// Carries out a plan and decides nothing. Every access goes through descriptors below the open run folder: no
// path is looked up twice, no link is followed, no mount is entered.
//
// A checkpoint is renamed to a hidden name that no trainer looks for, then the run folder is synced, and only
// then is anything deleted. Whenever a kill or a power failure comes, a checkpoint is complete under its name
// or is not there. The next run finishes what was left half deleted, if it is the checkpoint that had been
// judged (hide.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "ckpt/facts.h"
#include "ckpt/plan.h"
#include "ckpt/runs.h"

namespace mu {

struct ExecuteOptions {
  std::optional<std::string> trash{};  // folder that receives what would be deleted
  unsigned threads = 1;
  std::function<void(std::uint64_t bytes)> on_freed{};  // may be empty; called from any thread
};

// Counts what is gone, not what was renamed.
struct Outcome {
  std::uint64_t removed = 0, slimmed = 0, aside = 0;
  std::uint64_t leftovers = 0;  // of killed runs, now finished
  std::uint64_t vanished = 0;   // gone before we came: the trainer deletes old checkpoints too
  std::uint64_t bytes_freed = 0;
  std::vector<Error> failures;  // items left alone, put back, or half deleted (named by their hidden path)

  [[nodiscard]] std::uint64_t changes() const { return removed + slimmed + aside + leftovers; }
};

// Executes the plan of one run. An item that fails, or that changed after the scan, is added to `failures`,
// and the others are still done. If the checkpoint that training would resume from has vanished or changed,
// nothing more is touched (kTemporary). Throws Interrupted between items.
Outcome execute_plan(const RunFolder& folder, const RunFacts& run, const RunPlan& plan,
                     const ExecuteOptions& options);

}  // namespace mu
