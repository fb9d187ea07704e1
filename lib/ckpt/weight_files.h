// SPDX-License-Identifier: Apache-2.0
// Judges the files of a checkpoint that a single process writes: weights, indexes, optimizer and the like.
// Only names that a trainer or a loader reads are judged; other files beside them (exports to other runtimes)
// are ignored.
#pragma once

#include <string_view>

#include "ckpt/checkpoint_files.h"

namespace mu {

// Whether a loader looks for weights under such a name: "model.safetensors",
// "diffusion_pytorch_model.fp16.bin".
bool is_weights_name(std::string_view base);

// Judges every such file by its two ends, and every index against its shards. `deep` reads the files
// completely.
void judge_files(const CheckpointFiles& files, bool deep, Evidence& evidence);

// PEFT loads the weights of an adapter from the folder of its config. Runs after the layouts, since ranks may
// hold the weights instead.
void judge_adapters(const CheckpointFiles& files, Evidence& evidence);

// The verdict on a file that is a checkpoint by itself: `fault` says why it is not complete, and
// `shows_complete` is set if its format would show that.
struct FileVerdict {
  bool is_recognised = false;  // false: neither weights nor training state
  bool shows_complete = false;
  std::string fault, doubt;
};
FileVerdict judge_single_file(const InputFile& file, std::string_view base, bool deep);

// Torch files for resuming under FSDP: a second copy of the weights, or the partition of one rank.
bool is_fsdp_file(std::string_view base);

}  // namespace mu
