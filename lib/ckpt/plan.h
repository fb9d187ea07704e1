// SPDX-License-Identifier: Apache-2.0
// What is to happen to each checkpoint, and why.
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
  kSlim,  // what only resuming needs goes
  kRemove,
  kAside,  // renamed out of the trainer's sight
};
std::string_view verb_name(Verb verb);

struct PlanItem {
  Verb verb = Verb::kKeep;
  std::vector<std::string> reasons;  // at least one; names in them are as in the file system
  bool is_torn = false;              // or being written, or no checkpoint at all; limits pass it by
  bool is_protected = false;         // kept whatever the policy says
  std::uint64_t frees = 0;           // bytes of the run's total
};

struct RunPlan {
  std::vector<PlanItem> items;        // one for each of RunFacts::checkpoints
  std::optional<std::size_t> anchor;  // the newest resumable checkpoint: while it is there, others may go
  std::optional<Error> failure;       // why nothing of this run is touched: every verb is keep
  bool needs_leave = false;           // nothing here can be resumed from, and nobody said that this may be so
  std::vector<std::string> notes;     // what the user should know
  std::uint64_t bytes_before = 0, bytes_after = 0;  // of all checkpoints, as `du` counts

  // Nothing of this run is touched.
  void refuse(Error error);

  [[nodiscard]] std::uint64_t count(Verb verb) const;
  [[nodiscard]] bool changes_anything() const { return count(Verb::kKeep) != items.size(); }
};

struct Plan {
  std::vector<RunPlan> runs;                        // one for each run
  std::uint64_t bytes_before = 0, bytes_after = 0;  // a file shared by runs counts once
  std::uint64_t over_total = 0;                     // bytes that --max-total still misses
  std::uint64_t short_of_free = 0;  // bytes that --min-free still misses, of the worst file system
};

}  // namespace mu
