// SPDX-License-Identifier: Apache-2.0
// Reads trainer_state.json in ten thousand checkpoints. Each holds the whole log up to its step, so of all
// but one only the part before the log is read.
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

// Reads the fields before "log_history" (the Trainer sorts its keys) and checks the end. Files below 32 KiB,
// files in another order, and all files if `whole`, are parsed completely. Throws kMalformed for an empty or
// cut file, and kIo.
StateHead read_state_head(const InputFile& file, bool whole);

// Reads the whole file. Throws kMalformed, also beyond 512 MiB, and kIo.
TrainerState read_state(const InputFile& file);

}  // namespace mu
