// SPDX-License-Identifier: Apache-2.0
// Tells by one or two numbers whether one log is the beginning of another. Each of ten thousand checkpoints
// holds the whole log before it: comparing them entry by entry would take far too long.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "ckpt/facts.h"
#include "model/trainer_state.h"

namespace mu {

// `beginnings` has one hash for each prefix of the log, the whole log last; `ends` has one hash of the first
// and last entry of each prefix. NaN equals NaN.
struct LogHashes {
  std::vector<std::uint64_t> beginnings, ends;
};
LogHashes hash_log(const TrainerState& state);

LogMark mark_log(const TrainerState& state);

// Marks a log from the start and the end of a state's text, as the Trainer writes it; `ends` is 0 if the
// first and the last entry can't be found there.
LogMark mark_log_ends(std::string_view head, std::string_view tail);

}  // namespace mu
