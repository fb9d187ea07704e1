// SPDX-License-Identifier: Apache-2.0
// Torch distributed checkpoints (torch/distributed/checkpoint): a folder of .distcp files, each a sequence of
// torch zips that hold one piece of one tensor each, and a pickle ".metadata" that says which pieces make which
// tensor. FSDP under accelerate and the Trainer, FSDP2, HSDP, tensor parallelism and torchtitan write them.
#pragma once

#include <string>

#include "weights/weights.h"

namespace mu {

// True for a folder that holds such a checkpoint, whole or not.
bool is_dcp_folder(const std::string& path);

// The full tensors of the model in the folder, each made of its pieces. The model is what lies below `key`
// ("app.model") in the tree that was saved; without a key it is found by the names that trainers use. If it is
// not found, or with `everything`, all tensors are listed by their whole keys; without `everything` their files
// then say why they are not packed (DC-OPT, DC-KEY). Every piece of the model is checked against the metadata
// and the metadata against itself before it returns, and every file of the save for its end; with `everything`
// the other tensors are described, not read. Throws kMalformed with the tensor and the rule (DC-*) for what is
// missing, torn, mixed or not supported.
struct DcpOptions {
  std::string key{};
  bool everything = false;
};
Weights open_dcp(const std::string& path, const DcpOptions& options = {});

// The folder, the one given or its sub-folder "sharded", that holds pieces as safetensors files; empty when
// there is none.
std::string dcp_pieces_folder(const std::string& path);

// The same from pieces in safetensors files. The full shape is as far as the pieces reach, so a lost last rank
// shows only if the pieces don't fill it.
Weights open_dcp_pieces(const std::string& folder);

}  // namespace mu
