// SPDX-License-Identifier: Apache-2.0
// Training checkpoints that hold the model only as shares of the ranks, and where in a run they lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weights/weights.h"

namespace mu {

struct ShardedState {
  std::string path;  // of the folder with the shares
  enum class Kind : std::uint8_t { kZero, kDcp, kDcpPieces } kind = Kind::kDcp;
};

// The shares in a folder: itself, the folder that `latest` names, pytorch_model_fsdp_0, global_step*. Throws
// kMalformed where `latest` or several of them leave it open, and for kinds that can't be made whole (FSDP
// flat parameters, Megatron, NeMo).
std::optional<ShardedState> find_sharded_state(const std::string& folder);

Weights open_sharded_state(const ShardedState& state);

// From the names of a training process to those that PEFT saves: only LoRA tensors and modules to save are
// kept, the adapter's name ("default") goes. Returns a sentence on what was left out, or nothing.
std::vector<std::string> keep_adapter_tensors(Weights& weights);

// Of the tensors that were put together from fp32 masters, those whose cast to `dtype` equals what the model
// file of the training holds are taken from there instead. Reads both. Returns a sentence, or nothing where
// no file holds them.
std::optional<std::string> use_training_copies(Weights& weights, Dtype dtype);

// True when all names are those of an adapter.
bool holds_only_adapter(const Weights& weights);

// True when there are tensors and none has a value: what ZeRO stage 3 leaves in place of weights.
bool are_placeholders(const Weights& weights);

}  // namespace mu
