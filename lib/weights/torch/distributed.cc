// SPDX-License-Identifier: Apache-2.0
// Both classes are written as _rebuild_from_type_v2(_rebuild_wrapper_subclass, CLASS, (CLASS, dtype, size, …),
// state), and the state says which part this process holds.
//
// The state of a DTensor is (None, {"_local_tensor", "_spec"}), and the spec has the mesh and a placement for each
// of its dimensions. The region follows from these and the coordinate of the process. The coordinate is taken
// from the file: one of several parallel sub-meshes (FSDP of a parameter that tensor parallelism does not cut)
// does not say otherwise which it is. Spellings of the mesh: a tensor `mesh` up to torch 2.9; `_layout` with
// `shape` in 2.10 to 2.12, whose entries may be nested, and with `axes` in 2.13; all the ranks in `_rank_map`.
// `_root_mesh`, which may nest, is not followed.
//
// The state of a ShardedTensor is (local shards, metadata, process group, …). Each shard has its offsets.
#include "weights/torch/distributed.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "weights/torch/values.h"

namespace mu {
namespace {

constexpr std::size_t kMaxMeshes = 1000;      // of one file; runs have one for each kind of parallelism
constexpr std::size_t kMaxTensorShards = 64;  // of one tensor in one file; torch has one

Error no_sense(std::string_view why) {
  return malformed(fmt::format("{} [FS-MESH]", why));
}

std::span<const PickleId> items_of(const Pickle& p, PickleId id) {
  if (id == kNoNode || (p.kind(id) != PickleKind::kList && p.kind(id) != PickleKind::kTuple)) return {};
  return p.items(id);
}

// Whether arguments of _rebuild_from_type_v2 make a tensor of such a class.
bool make_distributed(const Pickle& p, std::span<const PickleId> args) {
  return args.size() == 4 && p.kind(args[0]) == PickleKind::kGlobal &&
         p.global(args[0]).name == "_rebuild_wrapper_subclass" && p.kind(args[1]) == PickleKind::kGlobal &&
         (is_distributed_class(p, args[1], "DTensor") || is_distributed_class(p, args[1], "ShardedTensor"));
}

// The number of processes in one dimension: a number, or the product of those in a tuple, which may be nested.
std::uint64_t dimension_size(const Pickle& p, PickleId id, int depth = 0) {
  if (const std::optional<std::uint64_t> number = pickle_number(p, id)) return *number;
  const std::optional<std::vector<std::uint64_t>> flat = pickle_shape(p, id);
  if (flat) {
    const std::optional<std::uint64_t> product = element_count(*flat);
    return product ? *product : throw no_sense("the sizes of its mesh overflow");
  }
  std::uint64_t product = 1;
  const std::span<const PickleId> items = items_of(p, id);
  if (items.empty() || items.size() > 16 || depth > 1) throw no_sense("the size of its mesh is not a number");
  for (const PickleId item : items) {
    const std::optional<std::uint64_t> next = checked_mul(product, dimension_size(p, item, depth + 1));
    product = next ? *next : throw no_sense("the sizes of its mesh overflow");
  }
  return product;
}

std::vector<std::uint64_t> mesh_sizes(const Pickle& p, PickleId mesh) {
  if (const PickleId layout = pickle_attribute(p, mesh, "_layout"); layout != kNoNode) {
    std::vector<std::uint64_t> sizes;
    const PickleId axes = pickle_attribute(p, layout, "axes");
    const PickleId shape = pickle_attribute(p, layout, "shape");
    if (axes == kNoNode && pickle_number(p, shape)) return {*pickle_number(p, shape)};
    const std::span<const PickleId> dims = items_of(p, axes != kNoNode ? axes : shape);
    if (dims.size() > 64) throw no_sense("its mesh has too many dimensions");
    for (const PickleId dim : dims) {
      const PickleId size = axes != kNoNode ? pickle_attribute(p, dim, "shape") : dim;
      if (size == kNoNode) throw no_sense("a dimension of its mesh has no size");
      // An axis of one process has the shape ().
      const bool single = axes != kNoNode && p.kind(size) == PickleKind::kTuple && p.items(size).empty();
      sizes.push_back(single ? 1 : dimension_size(p, size));
    }
    return sizes;
  }
  const std::optional<std::vector<std::uint64_t>> shape =
      plain_tensor_shape(p, pickle_attribute(p, mesh, "mesh"));
  if (!shape) throw no_sense("its mesh has no sizes");
  return *shape;
}

std::optional<std::vector<std::uint64_t>> mesh_coordinate(const Pickle& p, PickleId mesh, std::size_t dims) {
  const PickleId id = pickle_attribute(p, mesh, "_coordinate_on_dim");
  if (id == kNoNode) throw no_sense("its mesh does not say where this rank stands");
  if (p.kind(id) == PickleKind::kNone) return std::nullopt;
  std::optional<std::vector<std::uint64_t>> coordinate = pickle_shape(p, id);
  if (!coordinate || coordinate->size() != dims)
    throw no_sense(fmt::format("its coordinate does not fit a mesh of {}", plural(dims, "dimension")));
  return coordinate;
}

Placement read_placement(const Pickle& p, PickleId id) {
  Placement placement;
  const std::string name = pickle_name(p, id);
  const std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
  if (name.starts_with("torch.distributed.")) {
    if (last == "Replicate") return placement;
    if (last.ends_with("Partial")) return {Placement::Kind::kPartial};
    if (last == "Shard" || last == "_StridedShard") {
      const bool strided = last == "_StridedShard";
      placement.kind = strided ? Placement::Kind::kStridedShard : Placement::Kind::kShard;
      const std::optional<std::uint64_t> dim = pickle_number(p, pickle_attribute(p, id, "dim"));
      const std::optional<std::uint64_t> factor =
          strided ? pickle_number(p, pickle_attribute(p, id, "split_factor"))
                  : std::optional<std::uint64_t>(1);
      if (!dim || !factor) throw no_sense(fmt::format("its placement {} lacks a number", last));
      placement.dim = *dim;
      placement.split_factor = *factor;
      return placement;
    }
  }
  throw no_sense(fmt::format("its placement '{}' is unknown", escape_name(pickle_kind_text(p, id))));
}

// From torch 2.10 on a spec may say that plain Shards cut in another order than that of the mesh. No trainer does.
void require_usual_order(const Pickle& p, PickleId spec, std::span<const Placement> placements) {
  if (std::any_of(placements.begin(), placements.end(), [](const Placement& placement) {
        return placement.kind == Placement::Kind::kStridedShard;
      }))
    return;
  const std::span<const PickleId> entries = items_of(p, pickle_attribute(p, spec, "shard_order"));
  if (entries.size() > placements.size()) throw no_sense("its order of shards has too many entries");
  for (const PickleId entry : entries) {
    if (p.kind(entry) != PickleKind::kCall) continue;
    const std::span<const PickleId> fields = items_of(p, p.call(entry).args);  // a named tuple
    const std::optional<std::vector<std::uint64_t>> dims =
        fields.size() == 2 ? pickle_shape(p, fields[1]) : std::nullopt;
    if (dims && !std::is_sorted(dims->begin(), dims->end()))
      throw no_sense("the dimensions of its mesh cut it in an order that is not read");
  }
}

// Offsets and sizes of a shard, which lies in the tensor.
Region read_shard_region(const Pickle& p, PickleId metadata, const std::vector<std::uint64_t>& shape) {
  const std::optional<std::vector<std::uint64_t>> offsets =
      pickle_shape(p, pickle_attribute(p, metadata, "shard_offsets"));
  const std::optional<std::vector<std::uint64_t>> sizes =
      pickle_shape(p, pickle_attribute(p, metadata, "shard_sizes"));
  if (!offsets || !sizes || offsets->size() != shape.size() || sizes->size() != shape.size())
    throw no_sense("a shard has no offsets and sizes that fit its shape");
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::optional<std::uint64_t> end = checked_add((*offsets)[i], (*sizes)[i]);
    if (!end || *end > shape[i]) throw no_sense("a shard leaves its shape");
  }
  return {*offsets, *sizes};
}

}  // namespace

bool is_distributed_tensor(const Pickle& pickle, PickleId id) {
  return pickle.kind(id) == PickleKind::kCall &&
         pickle_name(pickle, id) == "torch._tensor._rebuild_from_type_v2" &&
         make_distributed(pickle, pickle.items(pickle.call(id).args));
}

bool is_distributed_type(const Tensor& tensor) {
  return tensor.dtype == Dtype::kForeign &&
         (type_text(tensor) == "DTensor" || type_text(tensor) == "ShardedTensor");
}

void check_piece(const Tensor& piece, const TorchType& type, const Region& region) {
  const bool same_type = piece.dtype == type.dtype &&
                         (piece.dtype != Dtype::kForeign || type_text(piece) == type.name || piece.size == 0);
  if (!same_type)
    throw malformed(fmt::format("the rank's piece is {}, the tensor {} [FS-PIECE]", type_text(piece),
                                type.dtype == Dtype::kForeign ? type.name : short_name(type.dtype)));
  if (piece.shape != written_shape(type.dtype, region.size))
    throw malformed(fmt::format("the rank's piece has the shape ({}), its place in the mesh ({}) [FS-PIECE]",
                                fmt::join(piece.shape, ", "), fmt::join(region.size, ", ")))
        .hint("the file is of another run");
}

DistributedTensor DistributedReader::read(PickleId id) {
  if (!is_distributed_tensor(p_, id)) throw malformed("it is not a distributed tensor");
  const std::span<const PickleId> args = p_.items(p_.call(id).args);
  const std::span<const PickleId> made = items_of(p_, args[2]);
  const std::optional<TorchType> type = made.size() > 2 ? pickle_dtype(p_, made[1]) : std::nullopt;
  const std::optional<std::vector<std::uint64_t>> shape =
      made.size() > 2 ? pickle_shape(p_, made[2]) : std::nullopt;
  if (!type || !shape) throw no_sense("it has no dtype and shape");
  const std::optional<std::uint64_t> count = element_count(*shape);
  if (!count || !checked_mul(*count, 16)) throw no_sense("its shape overflows 64 bits");
  DistributedTensor tensor;
  tensor.type = *type;
  tensor.shape = *shape;
  if (is_distributed_class(p_, args[1], "DTensor")) {
    read_dtensor(tensor, args[3]);
  } else {
    tensor.kind = DistributedTensor::Kind::kShardedTensor;
    read_sharded(tensor, args[3]);
  }
  return tensor;
}

std::shared_ptr<const DeviceMesh> DistributedReader::mesh(PickleId id) {
  const auto known = meshes_.find(id);
  if (known != meshes_.end()) return known->second;
  if (!is_distributed_class(p_, id, "DeviceMesh")) throw no_sense("it has no mesh");
  if (meshes_.size() == kMaxMeshes)
    throw no_sense(fmt::format("the file has more than {} meshes", kMaxMeshes));
  auto mesh = std::make_shared<DeviceMesh>();
  mesh->sizes = mesh_sizes(p_, id);
  const std::optional<std::uint64_t> ranks = element_count(mesh->sizes);
  if (!ranks || *ranks > kMaxRanks || *ranks == 0)
    throw no_sense(fmt::format("its mesh of {} is impossible", fmt::join(mesh->sizes, " x ")));
  mesh->coordinate = mesh_coordinate(p_, id, mesh->sizes.size());
  const PickleId names = pickle_attribute(p_, id, "_mesh_dim_names");
  for (const PickleId name :
       items_of(p_, names != kNoNode ? names : pickle_attribute(p_, id, "mesh_dim_names"))) {
    if (mesh->names.size() == mesh->sizes.size()) break;
    mesh->names.emplace_back(p_.kind(name) == PickleKind::kText ? p_.text(name).substr(0, 64) : "");
  }
  meshes_.emplace(id, mesh);
  return mesh;
}

void DistributedReader::read_dtensor(DistributedTensor& tensor, PickleId state) {
  const PickleId local = attribute_in(p_, state, "_local_tensor");
  const PickleId spec = attribute_in(p_, state, "_spec");
  if (local == kNoNode || spec == kNoNode) throw no_sense("it has no local tensor, or no spec");
  tensor.mesh = mesh(pickle_attribute(p_, spec, "mesh"));
  const std::span<const PickleId> placements = items_of(p_, pickle_attribute(p_, spec, "placements"));
  if (placements.size() != tensor.mesh->sizes.size())
    throw no_sense(fmt::format("it has {} on a mesh of {}", plural(placements.size(), "placement"),
                               plural(tensor.mesh->sizes.size(), "dimension")));
  for (const PickleId placement : placements) tensor.placements.push_back(read_placement(p_, placement));
  require_usual_order(p_, spec, tensor.placements);
  // A named tuple: shape, strides, dtype.
  if (const PickleId meta = pickle_attribute(p_, spec, "tensor_meta");
      meta != kNoNode && p_.kind(meta) == PickleKind::kCall) {
    const std::span<const PickleId> fields = items_of(p_, p_.call(meta).args);
    const std::optional<std::vector<std::uint64_t>> shape =
        fields.empty() ? std::nullopt : pickle_shape(p_, fields[0]);
    if (shape && *shape != tensor.shape) throw no_sense("its spec is of another shape");
  }
  if (!tensor.mesh->coordinate) return;
  tensor.pieces.push_back(
      {local, place_region(tensor.shape, tensor.mesh->sizes, *tensor.mesh->coordinate, tensor.placements)});
}

void DistributedReader::read_sharded(DistributedTensor& tensor, PickleId state) {
  const std::span<const PickleId> parts = items_of(p_, state);
  if (parts.size() < 2) throw no_sense("it has no shards");
  const std::optional<std::vector<std::uint64_t>> shape =
      pickle_shape(p_, pickle_attribute(p_, parts[1], "size"));
  if (!shape || *shape != tensor.shape) throw no_sense("its metadata are of another shape");
  if (items_of(p_, parts[0]).size() > kMaxTensorShards)
    throw no_sense(fmt::format("it has more than {} shards in one file", kMaxTensorShards));
  for (const PickleId shard : items_of(p_, parts[0])) {
    const PickleId local = pickle_attribute(p_, shard, "tensor");
    if (local == kNoNode) throw no_sense("a shard has no tensor");
    tensor.pieces.push_back(
        {local, read_shard_region(p_, pickle_attribute(p_, shard, "metadata"), tensor.shape)});
  }
}

std::optional<std::vector<std::uint64_t>> plain_tensor_shape(const Pickle& pickle, PickleId id) {
  if (id == kNoNode || pickle.kind(id) != PickleKind::kCall ||
      !pickle_name(pickle, id).starts_with("torch._utils._rebuild_tensor"))
    return std::nullopt;
  const std::span<const PickleId> args = pickle.items(pickle.call(id).args);
  return args.size() > 3 ? pickle_shape(pickle, args[2]) : std::nullopt;
}

PickleId find_whole_piece(const Pickle& pickle, std::span<const PickleId> arguments) {
  if (!make_distributed(pickle, arguments)) return kNoNode;
  const std::span<const PickleId> made = items_of(pickle, arguments[2]);
  const std::optional<std::vector<std::uint64_t>> shape =
      made.size() > 2 ? pickle_shape(pickle, made[2]) : std::nullopt;
  PickleId local = kNoNode;
  if (is_distributed_class(pickle, arguments[1], "DTensor")) {
    local = attribute_in(pickle, arguments[3], "_local_tensor");
    const PickleId placements =
        pickle_attribute(pickle, attribute_in(pickle, arguments[3], "_spec"), "placements");
    for (const PickleId placement : items_of(pickle, placements)) {
      if (read_placement(pickle, placement).kind == Placement::Kind::kPartial) return kNoNode;
    }
  } else if (const std::span<const PickleId> state = items_of(pickle, arguments[3]);
             !state.empty() && items_of(pickle, state[0]).size() == 1) {
    local = pickle_attribute(pickle, items_of(pickle, state[0])[0], "tensor");
  }
  return shape && plain_tensor_shape(pickle, local) == shape ? local : kNoNode;
}

}  // namespace mu
