// SPDX-License-Identifier: Apache-2.0
// Checkpoints that training processes write together: is every file there that the others speak of, and long
// enough? One function a layout; each looks at all folders of a checkpoint and adds to the evidence.
#pragma once

#include <functional>

#include "ckpt/checkpoint_files.h"
#include "ckpt/rank_files.h"
#include "ckpt/saved_arguments.h"

namespace mu {

// torch.distributed.checkpoint: FSDP, Megatron, torchtitan. Metadata name files and stretches of them.
void judge_dcp(const CheckpointFiles& files, Evidence& evidence);

// DeepSpeed: files of ranks in a tag folder, or in the checkpoint itself.
void judge_zero(const CheckpointFiles& files, Evidence& evidence);

// Megatron's folders mp_rank_*, and what its distributed checkpoints hold beside torch's.
void judge_megatron(const CheckpointFiles& files, Evidence& evidence);

// Single files of ranks: random states, verl's parts, accelerate's. After the others, which tell how many
// processes there were. What the training's arguments say is asked only where there are such files.
void judge_ranks(const CheckpointFiles& files, const std::function<SavedArguments()>& arguments,
                 Evidence& evidence);

// A tensor file, a pickle: whether it is whole by its ends. Blames it, and says how many bytes of tensors it
// holds (0: none, or not whole).
std::uint64_t probe_whole(const CheckpointFiles& files, const WalkedEntry& entry, Evidence& evidence);

}  // namespace mu
