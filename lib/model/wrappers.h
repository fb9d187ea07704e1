// SPDX-License-Identifier: Apache-2.0
// Names that wrappers leave in the tensors of a training process: FSDP, activation checkpointing,
// torch.compile, DataParallel and DeepSpeed.
#pragma once

#include <string>
#include <vector>

#include "weights/weights.h"

namespace mu {

// Renames the tensors of files other than safetensors:
//
//   "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."   removed wherever they are
//   "module.", "_forward_module." at the beginning                        removed if every tensor has it
//
// Returns one sentence per rule, with counts. Throws kMalformed when two names become one.
std::vector<std::string> remove_wrapper_names(Weights& weights);

}  // namespace mu
