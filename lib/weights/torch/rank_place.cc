// SPDX-License-Identifier: Apache-2.0
// torch writes the rank itself from 2.11 on. Before, it is what stands at the mesh's coordinate in the tensor of
// ranks, and of ShardedTensors what the process group says.
#include "weights/torch/rank_place.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/checked.h"
#include "weights/gather.h"
#include "weights/torch/distributed.h"
#include "weights/torch/values.h"

namespace mu {
namespace {

// The node of the tensor with the ranks: of the mesh itself up to torch 2.9, later of the whole run.
PickleId ranks_tensor(const Pickle& p, PickleId mesh) {
  const PickleId tensor = pickle_attribute(p, mesh, "mesh");
  return tensor != kNoNode ? tensor : pickle_attribute(p, mesh, "_rank_map");
}

// One number of a tensor of integers in the file; nothing when there is none at this place.
std::optional<std::uint64_t> integer_at(const Tensor& tensor, std::uint64_t index, const InputFile& file) {
  const std::uint64_t bytes = tensor.dtype == Dtype::kI32 ? 4 : tensor.dtype == Dtype::kI64 ? 8 : 0;
  if (bytes == 0 || index >= tensor.size / bytes) return std::nullopt;
  std::array<std::byte, 8> number{};
  const std::span<std::byte> out = std::span(number).first(static_cast<std::size_t>(bytes));
  const ReadSource read = [&file](std::uint32_t, std::uint64_t offset, std::span<std::byte> data) {
    file.read_at(offset, data);
  };
  if (tensor.layout) {
    gather(tensor, index * bytes, out, read);
  } else {
    read(0, tensor.offset + index * bytes, out);
  }
  return load_le<std::uint64_t>(number.data());
}

// Which rank stands at a mesh's own coordinate; nothing where only the order of flattened dimensions would say.
std::optional<std::uint64_t> rank_in_mesh(const Pickle& p, PickleId mesh, TorchStorages& storages,
                                          const InputFile& file) {
  if (const std::optional<std::uint64_t> own = pickle_number(p, pickle_attribute(p, mesh, "_rank")))
    return own;
  const std::optional<std::vector<std::uint64_t>> coordinate =
      pickle_shape(p, pickle_attribute(p, mesh, "_coordinate_on_dim"));
  const PickleId ranks = ranks_tensor(p, mesh);
  if (!coordinate || !plain_tensor_shape(p, ranks)) return std::nullopt;
  std::optional<std::vector<std::uint64_t>> strides;
  if (const PickleId layout = pickle_attribute(p, mesh, "_layout"); layout != kNoNode) {
    // The ranks are those of the whole run, in which a part of its mesh may begin anywhere.
    const std::optional<std::vector<std::uint64_t>> sizes =
        pickle_shape(p, pickle_attribute(p, layout, "shape"));
    if (!sizes || element_count(*sizes) != element_count(*plain_tensor_shape(p, ranks))) return std::nullopt;
    strides = pickle_shape(p, pickle_attribute(p, layout, "stride"));
  } else {
    strides = row_major_strides(*plain_tensor_shape(p, ranks));
  }
  if (!strides || strides->size() != coordinate->size()) return std::nullopt;
  std::optional<std::uint64_t> index = 0;
  for (std::size_t i = 0; i < strides->size() && index; ++i) {
    const std::optional<std::uint64_t> step = checked_mul((*strides)[i], (*coordinate)[i]);
    index = step ? checked_add(*index, *step) : std::nullopt;
  }
  if (!index) return std::nullopt;
  return integer_at(read_torch_tensor(p, storages, 0, "the mesh", ranks), *index, file);
}

}  // namespace

RankPlace find_rank_place(const Pickle& pickle, TorchStorages& storages, const InputFile& file) {
  RankPlace place;
  const bool any =
      std::any_of(pickle.globals().begin(), pickle.globals().end(), [](const PickleGlobal& global) {
        return global.name == "DeviceMesh" || global.name == "ShardedTensor";
      });
  if (!any) return place;
  for (PickleId id = 0; id < pickle.node_count(); ++id) {
    if (pickle.kind(id) != PickleKind::kCall) continue;
    std::optional<std::uint64_t> rank, ranks;
    if (is_distributed_class(pickle, id, "DeviceMesh")) {
      if (const auto shape = plain_tensor_shape(pickle, ranks_tensor(pickle, id)))
        ranks = element_count(*shape);
      if (!place.rank) rank = rank_in_mesh(pickle, id, storages, file);
    } else if (pickle.kind(pickle.call(id).callee) == PickleKind::kCall) {
      // A ProcessGroupState, whose class is an attribute of another.
      rank = pickle_number(pickle, pickle_attribute(pickle, id, "global_rank"));
      ranks = pickle_number(pickle, pickle_attribute(pickle, id, "global_world_size"));
    }
    if (!place.rank) place.rank = rank;
    if (ranks && *ranks <= kMaxRanks) place.ranks = std::max(place.ranks, *ranks);
  }
  return place;
}

}  // namespace mu
