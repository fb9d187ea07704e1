// SPDX-License-Identifier: Apache-2.0
#include "inspect/rank_pieces.h"

#include <fmt/format.h>

#include "base/text.h"
#include "tensor/format.h"
#include "weights/layout.h"
#include "weights/torch/distributed.h"

namespace mu {
namespace {

std::string_view type_of(const RankPiece& piece) {
  return piece.type.dtype == Dtype::kForeign ? piece.type.name : short_name(piece.type.dtype);
}

const TorchObject* object_of(const Input& input) {
  return input.weights.files.size() == 1 ? input.weights.files.front().object.get() : nullptr;
}

// The mesh with the most dimensions: others of the file are parts of it.
const DeviceMesh* mesh_of(const TorchObject& object) {
  const DeviceMesh* widest = nullptr;
  for (const auto& [name, piece] : object.pieces) {
    if (piece.mesh && (widest == nullptr || piece.mesh->sizes.size() > widest->sizes.size()))
      widest = piece.mesh.get();
  }
  return widest;
}

std::vector<std::string> names_of(const DeviceMesh& mesh) {
  std::vector<std::string> names;
  for (const std::string& name : mesh.names) names.push_back(escape_name(name));
  return names;
}

}  // namespace

const RankPiece* piece_of(const Weights& weights, const Tensor& tensor) {
  const TorchObject* const object = weights.files[tensor.source].object.get();
  if (object == nullptr || object->pieces.empty()) return nullptr;
  const auto found = object->pieces.find(tensor.name);
  return found == object->pieces.end() ? nullptr : &found->second;
}

std::string_view element_type_text(const Weights& weights, const Tensor& tensor) {
  const RankPiece* const piece = piece_of(weights, tensor);
  return piece == nullptr ? type_text(tensor) : type_of(*piece);
}

std::uint64_t stored_bytes(const Weights& weights, const Tensor& tensor) {
  const RankPiece* const piece = piece_of(weights, tensor);
  return piece == nullptr ? tensor.size : piece->bytes;
}

bool has_pieces(const Input& input) {
  const TorchObject* const object = object_of(input);
  return object != nullptr && object->has_pieces;
}

std::string rank_text(const Input& input) {
  if (!has_pieces(input)) return "";
  const TorchObject& object = *object_of(input);
  std::string text = object.place.rank ? fmt::format("rank {}", *object.place.rank) : "one rank";
  if (object.place.ranks > 0) text += fmt::format(" of {}", object.place.ranks);
  const DeviceMesh* const mesh = mesh_of(object);
  if (mesh == nullptr) return text;
  text += fmt::format(", mesh of {}", fmt::join(mesh->sizes, " x "));
  return mesh->names.empty() ? text : text + fmt::format(" ({})", join(names_of(*mesh), ", "));
}

PieceTexts piece_texts(const Weights& weights, const Tensor& tensor) {
  const RankPiece* const piece = piece_of(weights, tensor);
  if (piece == nullptr) return {"whole", shape_text(tensor.shape)};
  std::vector<std::string> shapes;
  for (const Region& region : piece->regions) shapes.push_back(shape_text(region.size));
  return {piece->mesh ? placements_text(piece->placements) : "shards",
          shapes.empty() ? "-" : join(shapes, ", ")};
}

void write_rank(JsonWriter& json, const Input& input) {
  if (!has_pieces(input)) return;
  const TorchObject& object = *object_of(input);
  json.key("rank").begin_object();
  if (object.place.rank) json.member("rank", *object.place.rank);
  if (object.place.ranks > 0) json.member("ranks", object.place.ranks);
  if (const DeviceMesh* const mesh = mesh_of(object)) {
    json.key("mesh").numbers(mesh->sizes);
    json.key("mesh_names").begin_array();
    for (const std::string& name : mesh->names) json.value(name);
    json.end_array();
    if (mesh->coordinate) json.key("coordinate").numbers(*mesh->coordinate);
  }
  json.end_object();
}

void write_piece(JsonWriter& json, const Weights& weights, const Tensor& tensor) {
  const RankPiece* const piece = piece_of(weights, tensor);
  if (piece == nullptr) return;
  json.key("piece").begin_object();
  json.member("dtype", piece->type.dtype == Dtype::kForeign ? piece->type.name : name(piece->type.dtype))
      .member("bytes", piece->bytes);
  if (piece->mesh) {
    json.member("placements", placements_text(piece->placements));
    json.key("mesh").numbers(piece->mesh->sizes);
  }
  json.key("regions").begin_array();
  for (const Region& region : piece->regions) {
    json.begin_object().key("begin").numbers(region.begin).key("shape").numbers(region.size);
    json.end_object();
  }
  json.end_array().end_object();
}

}  // namespace mu
