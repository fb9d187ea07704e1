// SPDX-License-Identifier: Apache-2.0
// trainer_state.json of ten thousand checkpoints: each holds the whole log up to its step, so of all but one
// only what stands before the log is read.
#pragma once

#include <cstdint>
#include <optional>

#include "ckpt/facts.h"
#include "model/trainer_state.h"
#include "os/file.h"

namespace mu {

struct StateHead {
  std::optional<std::uint64_t> global_step;
  std::optional<double> epoch;
  LogMark log;
};

// The fields before "log_history" (the Trainer sorts its keys) and a look at the end; files of less than
// 32 KiB, all with `whole`, and what is written in another order are parsed from end to end. Throws
// kMalformed for an empty or cut file, kIo.
StateHead read_state_head(const InputFile& file, bool whole);

// All of it. Throws kMalformed, also beyond 512 MiB, and kIo.
TrainerState read_state(const InputFile& file);

}  // namespace mu
