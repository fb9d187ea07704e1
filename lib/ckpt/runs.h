// SPDX-License-Identifier: Apache-2.0
// Run folders: finding them, holding them open, and keeping a second ckpt-prune out.
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

// A folder that holds checkpoints, open.
struct RunFolder {
  std::string path;  // as given
  Fd fd;
  FileId id;
};

// Which names of a run are its checkpoints.
class CheckpointNames {
 public:
  // Folders "checkpoint-<step>": decimal digits without a leading zero that fit 63 bits, nothing else.
  CheckpointNames() = default;
  // Files and folders whose whole name a glob matches. Throws kUsage for one that leaves everything open.
  explicit CheckpointNames(const std::string& pattern);

  [[nodiscard]] bool matches(std::string_view name, bool is_folder) const;
  [[nodiscard]] bool is_by_pattern() const { return pattern_.has_value(); }
  // The step; by pattern the number after the last "step", "epoch" or "iter" in the name, else its last one
  // that can count something; "checkpoint_best.pt" and "weights-0.25.h5" have none.
  [[nodiscard]] std::optional<std::uint64_t> number_of(std::string_view name) const;

 private:
  std::optional<Glob> pattern_;
};

// "best_mAP_epoch_9.pth"
bool says_best(std::string_view name);

struct FoundRuns {
  std::vector<RunFolder> runs;  // each folder once
  std::vector<Error> missing;  // operands that do not exist: a typing mistake, so that nothing should be done
  std::vector<Error> failures;    // operands and folders that could not be opened
  std::vector<RunFolder> barren;  // operands of a recursive search that found nothing below them
};

// Opens the folders that were named, links followed; with `recursive` every folder at or below them that
// holds a checkpoint, links, mounts and the folder `passed_by` left alone. Throws kUsage for a checkpoint
// instead of a run.
FoundRuns find_runs(const std::vector<std::string>& operands, bool recursive, const CheckpointNames& names,
                    const std::optional<std::string>& passed_by = {});

// Takes the run's lock, held until the folder is closed: an advisory lock on the folder itself, so that
// nothing is left behind. Throws kTemporary when another process holds it. Where the file system has no such
// locks (some network ones) it does nothing; each item is checked again before it is touched.
void lock_run(const RunFolder& run);

}  // namespace mu
