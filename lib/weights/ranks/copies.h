// SPDX-License-Identifier: Apache-2.0
// Pieces of tensors that several ranks hold: replicas of HSDP, what tensor parallelism does not cut, and buffers.
// One of each is packed. The others must have the same bits, or the files are of different steps or runs.
#pragma once

#include "weights/weights.h"

namespace mu {

// Compares all copies of the tensors in the set with what is packed, by `threads`. Throws kMalformed [FS-MIX]
// with the tensor and the rank's file where one differs.
void require_equal_copies(const Weights& weights, unsigned threads);

}  // namespace mu
