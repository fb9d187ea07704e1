// SPDX-License-Identifier: Apache-2.0
// Files of a checkpoint that one process writes: weights, indexes, optimizer and their kin. Judged are names
// that a trainer or loader reads; what strangers put beside them (exports to other runtimes) is left out.
#pragma once

#include <string_view>

#include "ckpt/checkpoint_files.h"

namespace mu {

// "model.safetensors", "diffusion_pytorch_model.fp16.bin": a loader looks for weights under such a name.
bool is_weights_name(std::string_view base);

// Every such file by its ends, every index against its shards. `deep` reads them from end to end.
void judge_files(const CheckpointFiles& files, bool deep, Evidence& evidence);

// PEFT loads an adapter from beside its config. After the layouts, whose parts may hold it instead.
void judge_adapters(const CheckpointFiles& files, Evidence& evidence);

// The same for a file that is a checkpoint by itself: why it is not whole, or empty. `shows` is set where its
// format would tell. Nothing when it holds neither weights nor training state.
struct FileVerdict {
  bool is_recognised = false;
  bool shows_complete = false;
  std::string fault, doubt;
};
FileVerdict judge_single_file(const InputFile& file, std::string_view base, bool deep);

// Torch files that hold a second copy of the weights, or one rank's part, for resuming under FSDP.
bool is_fsdp_file(std::string_view base);

}  // namespace mu
