// SPDX-License-Identifier: Apache-2.0
// Checkpoints of DeepSpeed ZeRO, stages 1 to 3 and the BF16 engine: the fp32 master weights lie cut into
// partitions in the optimizer files of all ranks, names and shapes in the model files
// (deepspeed/utils/zero_to_fp32.py); and universal checkpoints, one file per parameter
// (deepspeed/checkpoint/ds_to_universal.py).
#pragma once

#include <string>

#include "weights/weights.h"

namespace mu {

// The full tensors of the model: master weights put together from the ranks' partitions, frozen ones,
// buffers, and the names of shared ones. Everything is checked to fit before it returns. Parameters whose
// values are in no file are listed as lost. Throws kMalformed with the rule (ZR-*) for ranks that are
// missing, mixed or swapped, for sizes that don't add up, and for what is not supported.
Weights open_zero(const std::string& tag_folder);

// All tensors of the optimizer files, named "optimizer.rank_R." and their path: moments, steps, flat weights.
Weights open_zero_optimizer(const std::string& tag_folder);

}  // namespace mu
