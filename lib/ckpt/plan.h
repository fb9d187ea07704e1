// SPDX-License-Identifier: Apache-2.0
// What will happen to each checkpoint, and why.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace mu {

enum class Verb : std::uint8_t {
  kKeep,
  kSlim,  // remove what only resuming needs
  kRemove,
  kAside,  // rename it so that the trainer does not find it
};
std::string_view verb_name(Verb verb);

struct PlanItem {
  Verb verb = Verb::kKeep;
  std::vector<std::string> reasons;  // at least one; names in them are not escaped
  bool is_torn = false;              // or being written, or not a checkpoint; limits skip it
  bool is_protected = false;         // kept whatever the policy
  std::uint64_t frees = 0;           // bytes of the run's total
};

struct RunPlan {
  std::vector<PlanItem> items;        // one for each of RunFacts::checkpoints
  std::optional<std::size_t> anchor;  // the newest resumable checkpoint: others may go only while it is there
  std::optional<Error> failure;       // why nothing in this run is touched: every verb is keep
  bool needs_leave = false;           // nothing can be resumed from, and the user has not allowed that
  std::vector<std::string> notes;     // what the user should know
  std::uint64_t bytes_before = 0, bytes_after = 0;  // of all checkpoints, as `du` counts

  // Keeps everything in this run.
  void refuse(Error error);

  [[nodiscard]] std::uint64_t count(Verb verb) const;
  [[nodiscard]] bool changes_anything() const { return count(Verb::kKeep) != items.size(); }
};

struct Plan {
  std::vector<RunPlan> runs;                        // one for each run
  std::uint64_t bytes_before = 0, bytes_after = 0;  // a file shared by runs counts once
  std::uint64_t over_total = 0;                     // bytes by which --max-total is still exceeded
  std::uint64_t short_of_free = 0;  // bytes that --min-free still lacks, on the worst file system
};

}  // namespace mu
