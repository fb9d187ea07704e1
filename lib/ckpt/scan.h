// SPDX-License-Identifier: Apache-2.0
// Looks at run folders and gathers the facts that a plan is made of. Each folder is listed once; files are
// opened for a few bytes, save the newest trainer_state.json, which holds the log of the whole run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ckpt/facts.h"
#include "ckpt/runs.h"

namespace mu {

struct ScanOptions {
  bool deep = false;                    // read every byte of every checkpoint
  bool staging = false;                 // take "tmp-checkpoint-*" in, as torn
  bool may_write = false;               // a file without a name may be made to ask for the file system's time
  std::optional<std::string> metric{};  // to rank by, "eval_" optional; else what the run's arguments say
  std::optional<bool> lower_is_better{};  // likewise
  unsigned threads = 1;
};

// Facts of each run, in the order given. What keeps a run from being looked at is its `failure`.
std::vector<RunFacts> scan_runs(const std::vector<RunFolder>& runs, const CheckpointNames& names,
                                const ScanOptions& options);

}  // namespace mu
