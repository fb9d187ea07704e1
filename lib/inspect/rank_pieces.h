// SPDX-License-Identifier: Apache-2.0
// Views of the file of one rank, which has pieces of tensors: who wrote it, how the ranks are arranged, and what it has
// of each tensor.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_write.h"
#include "model/input.h"
#include "weights/torch/object.h"

namespace mu {

// What the file of a tensor has of it, or null if it is not one that ranks share.
const RankPiece* piece_of(const Weights& weights, const Tensor& tensor);

// "bf16", the type of the elements where the tensor is a DTensor.
std::string_view element_type_text(const Weights& weights, const Tensor& tensor);
// Bytes in the file that belong to the tensor.
std::uint64_t stored_bytes(const Weights& weights, const Tensor& tensor);

// True for the input of one such file.
bool has_pieces(const Input& input);
// "rank 1 of 3, mesh of 3 (fsdp)"; empty for other files.
std::string rank_text(const Input& input);

// The placement of a tensor and the shape of the piece: {"Shard(0)", "[12, 12]"}.
struct PieceTexts {
  std::string placements, shape;
};
PieceTexts piece_texts(const Weights& weights, const Tensor& tensor);

// Writes the member "rank" of the JSON report, and "piece" of a tensor. They write nothing for other files.
void write_rank(JsonWriter& json, const Input& input);
void write_piece(JsonWriter& json, const Weights& weights, const Tensor& tensor);

}  // namespace mu
