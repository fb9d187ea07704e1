// SPDX-License-Identifier: Apache-2.0
// Run folders: finds them, holds them open, and keeps a second ckpt-prune out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/glob.h"
#include "os/file.h"

namespace mu {

// An open folder that holds checkpoints.
struct RunFolder {
  std::string path;  // as given
  Fd fd;
  FileId id;
};

// Which names in a run folder are checkpoints.
class CheckpointNames {
 public:
  // Folders "checkpoint-<step>": decimal digits without a leading zero that fit 63 bits, nothing else.
  CheckpointNames() = default;
  // Files and folders whose whole name matches a glob. Throws kUsage for a glob without a letter or digit,
  // which would match everything.
  explicit CheckpointNames(const std::string& pattern);

  [[nodiscard]] bool matches(std::string_view name, bool is_folder) const;
  [[nodiscard]] bool is_by_pattern() const { return pattern_.has_value(); }
  // The step. With a pattern: the number after the last "step", "epoch" or "iter" in the name, else the last
  // number that can count something; "checkpoint_best.pt" and "weights-0.25.h5" have none.
  [[nodiscard]] std::optional<std::uint64_t> number_of(std::string_view name) const;

 private:
  std::optional<Glob> pattern_;
};

// True if a name says that it is the best: "best_mAP_epoch_9.pth".
bool says_best(std::string_view name);

struct FoundRuns {
  std::vector<RunFolder> runs;    // each folder once
  std::vector<Error> missing;     // operands that do not exist: perhaps mistyped, so nothing should be done
  std::vector<Error> failures;    // operands and folders that could not be opened
  std::vector<RunFolder> barren;  // operands of a recursive search that found nothing below them
};

// Opens the named folders, following links. With `recursive`, opens every folder at or below them that holds
// a checkpoint, except behind links and mounts and in the folder `passed_by`. Throws kUsage for a checkpoint
// instead of a run.
FoundRuns find_runs(const std::vector<std::string>& operands, bool recursive, const CheckpointNames& names,
                    const std::optional<std::string>& passed_by = {});

// Takes the lock of a run, held until the folder is closed. It is an advisory lock on the folder itself, so
// nothing is left behind. Throws kTemporary if another process holds it. On a file system without such locks
// (some network ones) this does nothing; each item is checked again before it is touched.
void lock_run(const RunFolder& run);

}  // namespace mu
