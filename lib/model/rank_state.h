// SPDX-License-Identifier: Apache-2.0
// Training checkpoints that hold the model only as the partitions of their ranks, and where in a run they
// lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "weights/weights.h"

namespace mu {

struct RankState {
  std::string path;  // of the folder with the ranks' files
  enum class Kind : std::uint8_t { kZero, kDcp, kDcpPieces } kind = Kind::kDcp;
};

// The ranks' files in a folder: itself, pytorch_model_fsdp_0, the folder that `latest` names, the only tag
// folder, pieces in safetensors. Throws kMalformed where `latest` or several of them leave it open, and for
// kinds that can't be made whole (single ranks' files of FSDP, Megatron, NeMo).
std::optional<RankState> find_rank_state(const std::string& folder);

// Opens them: the model below `key` of the tree (DcpOptions), or with `everything` all there is, with the
// optimizer's side, under the names of the whole tree.
Weights open_rank_state(const RankState& state, const std::string& key, bool everything);

// Of the tensors that were put together from fp32 masters, those whose cast to `dtype` equals what the model
// file of the training holds are taken from there instead. Reads both, with `threads`. Returns a sentence, or
// nothing where no file holds them. Where they differ, files are mixed or the save fell into a step: throws
// kMalformed (ZR-MASTER) when `strict`, else the masters are cast.
std::optional<std::string> use_training_copies(Weights& weights, Dtype dtype, unsigned threads, bool strict);

// True when weights are what ZeRO stage 3 leaves in their place: empty tensors of shape [0]. Small ones may
// be whole all the same (stage3_param_persistence_threshold).
bool are_placeholders(const Weights& weights);

}  // namespace mu
