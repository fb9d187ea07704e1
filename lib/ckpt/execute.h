// SPDX-License-Identifier: Apache-2.0
// Carries out a plan and decides nothing. Everything goes by descriptors below the open run folder: no path
// is looked up twice, no link followed, no mount entered.
//
// A checkpoint is renamed to a hidden name that no trainer looks for, the run folder is synced, and only then
// is anything deleted: whenever a kill or a power failure comes, a checkpoint is whole under its name or not
// there. What was left half deleted is finished by the next run, if it is what had been judged (hide.h).
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
  std::optional<std::string> trash{};  // folder that takes what would be deleted
  unsigned threads = 1;
  std::function<void(std::uint64_t bytes)> on_freed{};  // may be empty; from any thread
};

// Counts what has gone, not what was renamed.
struct Outcome {
  std::uint64_t removed = 0, slimmed = 0, aside = 0;
  std::uint64_t leftovers = 0;  // of killed runs, finished
  std::uint64_t vanished = 0;   // gone before we came: the trainer rotates too
  std::uint64_t bytes_freed = 0;
  std::vector<Error> failures;  // what was left as it is or put back, or half deleted, by its hidden path

  [[nodiscard]] std::uint64_t changes() const { return removed + slimmed + aside + leftovers; }
};

// Executes the plan of one run. An item that changed since it was looked at, or fails, is in `failures` and
// the others are still done; when the checkpoint that training would resume from has gone or changed, nothing
// more is touched (kTemporary). Throws Interrupted between items.
Outcome execute_plan(const RunFolder& folder, const RunFacts& run, const RunPlan& plan,
                     const ExecuteOptions& options);

}  // namespace mu
