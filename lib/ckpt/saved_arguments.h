// SPDX-License-Identifier: Apache-2.0
// What the training_args.bin of a checkpoint says about how checkpoints are saved. All those of a run are
// equal, byte for byte, so ten thousand are parsed once.
#pragma once

#include <cstdint>

#include "os/file.h"

namespace mu {

struct SavedArguments {
  std::uint64_t processes = 0;    // number of processes that train; 0: not known
  bool saves_each_node = false;   // every node saves its own files
  bool saves_model_only = false;  // neither optimizer nor scheduler is saved
};

// Returns the defaults (nothing known) for a file that can't be read as such arguments. Throws kIo.
SavedArguments read_saved_arguments(InputFile file);

}  // namespace mu
