// SPDX-License-Identifier: Apache-2.0
// Which rank wrote a file.
#pragma once

#include "os/file.h"
#include "weights/pickle/pickle.h"
#include "weights/torch/object.h"
#include "weights/torch/tensors.h"

namespace mu {

// Which of how many processes wrote a file, as its meshes and process groups say. Throws kMalformed when the
// ranks of a mesh can't be read.
RankPlace find_rank_place(const Pickle& pickle, TorchStorages& storages, const InputFile& file);

}  // namespace mu
