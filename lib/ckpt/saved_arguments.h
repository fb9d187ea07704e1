// SPDX-License-Identifier: Apache-2.0
// What the training_args.bin in a checkpoint says of how checkpoints are saved. All of a run are the same,
// byte for byte, so ten thousand are parsed once.
#pragma once

#include <cstdint>

#include "os/file.h"

namespace mu {

struct SavedArguments {
  std::uint64_t processes = 0;    // that train; 0: not known
  bool saves_each_node = false;   // every node saves what is its own
  bool saves_model_only = false;  // neither optimizer nor scheduler
};

// Of a file that can't be read as such arguments nothing is known. Throws kIo.
SavedArguments read_saved_arguments(InputFile file);

}  // namespace mu
