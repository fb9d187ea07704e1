// SPDX-License-Identifier: Apache-2.0
// Before any rule is asked: which checkpoints of a run count, which is the one to resume from, and what the
// trainer's own marks and the logs say of the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

// What keeps a checkpoint whatever the rules say.
struct Claim {
  std::size_t checkpoint;
  std::string reason;
};

struct Standing {
  std::vector<std::size_t> counted;  // what rules count, oldest first
  std::vector<std::vector<std::size_t>>
      others;                         // complete ones of each other run in the folder, oldest first
  std::optional<std::size_t> anchor;  // the newest resumable
  std::optional<std::size_t> newest;  // the same; where there is none, the newest that counts
  std::vector<Claim> claims;
  std::vector<std::string> notes;  // what the user should know, without the run's path
  bool is_rank_only = false;       // nothing here but files of some ranks, which then are what counts
};

// Counted are the complete checkpoints of the run that was saved last, but for those that are being written
// and those above the newest one that a tracker names: until the tracker passes them they are left alone. A
// tracker that did not follow a complete checkpoint for `torn_age_seconds` is stale, and orders nothing.
Standing standing_of(const RunFacts& run, std::uint32_t torn_age_seconds);

}  // namespace mu
