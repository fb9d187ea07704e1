// SPDX-License-Identifier: Apache-2.0
// Reads run folders and gathers the facts that a plan is made from. Each folder is listed once. Of each file
// only a few bytes are read, except the newest trainer_state.json, which holds the log of the whole run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ckpt/facts.h"
#include "ckpt/runs.h"

namespace mu {

struct ScanOptions {
  bool deep = false;                      // read every byte of every checkpoint
  bool staging = false;                   // include "tmp-checkpoint-*", as torn
  bool may_write = false;                 // a temporary file may be made, to learn the file system's time
  std::optional<std::string> metric{};    // to rank by, "eval_" optional; default: by the training arguments
  std::optional<bool> lower_is_better{};  // likewise
  unsigned threads = 1;
};

// The facts of each run, in the order given. If a run can't be read, its `failure` says why.
std::vector<RunFacts> scan_runs(const std::vector<RunFolder>& runs, const CheckpointNames& names,
                                const ScanOptions& options);

// Opens one run and gathers its facts. Throws whatever keeps it from being read.
RunFacts scan_run(const std::string& path, const CheckpointNames& names, const ScanOptions& options);

// The name of the newest checkpoint of a run that is complete and not being written; empty if there is none.
std::string newest_checkpoint(const std::string& run);

}  // namespace mu
