// SPDX-License-Identifier: Apache-2.0
// Checkpoints that several training processes write together. Is every file there that the others name, and
// is it long enough? One function for each layout; each looks at all folders of a checkpoint and adds to the
// evidence.
#pragma once

#include <functional>

#include "ckpt/checkpoint_files.h"
#include "ckpt/rank_files.h"
#include "ckpt/saved_arguments.h"

namespace mu {

// torch.distributed.checkpoint: FSDP, Megatron, torchtitan. The metadata name files and the ranges that are
// used in them.
void judge_dcp(const CheckpointFiles& files, Evidence& evidence);

// DeepSpeed: files of ranks in a tag folder, or directly in the checkpoint.
void judge_zero(const CheckpointFiles& files, Evidence& evidence);

// Megatron: folders mp_rank_*, and what its distributed checkpoints hold beside the files of torch.
void judge_megatron(const CheckpointFiles& files, Evidence& evidence);

// Single files of ranks: random states, the partitions of verl and accelerate. Runs after the others, which
// find out how many processes there were. `arguments` reads the training arguments; it is called only if
// there are such files.
void judge_ranks(const CheckpointFiles& files, const std::function<SavedArguments()>& arguments,
                 Evidence& evidence);

// Judges by its ends whether a tensor file or a pickle is complete. Blames it if not; returns the bytes of
// tensors it holds (0: none, or not complete).
std::uint64_t probe_whole(const CheckpointFiles& files, const WalkedEntry& entry, Evidence& evidence);

}  // namespace mu
