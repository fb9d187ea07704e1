// SPDX-License-Identifier: Apache-2.0
// Training checkpoints that hold the model only as the partitions of their ranks, and where in a run they
// lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/weights.h"

namespace mu {

struct RankState {
  std::string path;  // of the folder with the ranks' files
  enum class Kind : std::uint8_t { kZero, kDcp, kDcpPieces, kFsdp } kind = Kind::kDcp;
};

// Finds the ranks' files of a folder: in the folder itself, in pytorch_model_fsdp_0, in the folder that
// `latest` names, in the only tag folder or the only one with pickles of FSDP's ranks, or as pieces in safetensors.
// Throws kMalformed when `latest` is wrong, when there are several candidates, and for kinds that can't be made
// whole (Megatron, NeMo).
std::optional<RankState> find_rank_state(const std::string& folder);

// Opens them: the model below `key` of the tree (DcpOptions), or with `everything` all there is, with the
// optimizer's side, under the names of the whole tree.
Weights open_rank_state(const RankState& state, const std::string& key, bool everything);

// Tensors that were put together from fp32 masters are replaced by the copies in the model file of the training
// if their cast to `dtype` equals the copy. Reads both, with `threads`. Returns a sentence, or nothing when no
// file holds copies. If they differ, files are mixed or the save happened during a step: throws kMalformed
// (ZR-MASTER) when `strict`, else the masters are cast.
std::optional<std::string> use_training_copies(Weights& weights, Dtype dtype, unsigned threads, bool strict);

}  // namespace mu
