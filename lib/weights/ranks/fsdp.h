// SPDX-License-Identifier: Apache-2.0
// FSDP runs whose ranks pickled what they hold, one file each (fsdp_files.h): DTensor (FSDP2, HSDP, tensor
// parallelism, FSDP1 with a mesh), ShardedTensor (FSDP1), and plain tensors that every rank has whole, such as
// buffers. What one file says about a tensor is read by weights/torch/distributed.h; here the files become one
// model.
#pragma once

#include <string>

#include "weights/weights.h"

namespace mu {

// The full tensors of the model, in the order of rank 0's file, each made of the pieces of all ranks. Reads the
// pickles and no values but a few numbers. Each pickle is dropped before the next one is read. Everything is
// checked to fit before it returns: the number of ranks, each file's own rank, names, shapes, dtypes, meshes and
// placements, and that the pieces fill each tensor once, or equally often where ranks hold copies; also that the
// steps in extra_state_* and optim_* files beside them are equal. Throws kMalformed with the rule (FS-*, DC-CHUNK,
// DC-FLAT).
//
// Copies are listed in FromRanks::copies; weights/ranks/copies.h compares them bit for bit.
Weights open_fsdp(const std::string& folder);

}  // namespace mu
