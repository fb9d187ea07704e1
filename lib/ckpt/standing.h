// SPDX-License-Identifier: Apache-2.0
// Runs before any rule: which checkpoints of a run count, which one training would resume from, and what the
// trainer's own trackers and the logs say about the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

// A reason to keep a checkpoint whatever the rules say.
struct Claim {
  std::size_t checkpoint;
  std::string reason;
};

struct Standing {
  std::vector<std::size_t> counted;  // what rules count, oldest first
  std::vector<std::vector<std::size_t>>
      others;                         // complete ones of each other run in the folder, oldest first
  std::optional<std::size_t> anchor;  // the newest resumable
  std::optional<std::size_t> newest;  // the same; if there is none, the newest that counts
  std::vector<Claim> claims;
  std::vector<std::string> notes;  // what the user should know, without the run's path
  bool is_rank_only = false;       // there are only files of some ranks, so these count
};

// The checkpoints that count are the complete ones of the run saved last, except those being written and
// those above the newest one that a tracker names: they are left alone until the tracker has passed them. A
// tracker that did not follow a complete checkpoint for `torn_age_seconds` is stale and orders nothing.
Standing standing_of(const RunFacts& run, std::uint32_t torn_age_seconds);

}  // namespace mu
