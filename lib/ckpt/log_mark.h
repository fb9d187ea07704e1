// SPDX-License-Identifier: Apache-2.0
// Telling by a number or two whether one log is the beginning of another: of ten thousand checkpoints each
// holds the log of all that went before it, which nobody can afford to compare entry by entry.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "ckpt/facts.h"
#include "model/trainer_state.h"

namespace mu {

// A number for each beginning of a log, the whole log last, and one for the two ends of each. NaN equals NaN.
struct LogHashes {
  std::vector<std::uint64_t> beginnings, ends;
};
LogHashes hash_log(const TrainerState& state);

LogMark mark_log(const TrainerState& state);

// From the start and the end of a state's text, as the Trainer writes it: the log's first and last entry;
// `ends` is 0 where they can't be made out.
LogMark mark_log_ends(std::string_view head, std::string_view tail);

}  // namespace mu
