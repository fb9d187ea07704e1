// SPDX-License-Identifier: Apache-2.0
// A dimension of the tensor is cut once by each dimension of the mesh that names it, from the first to the last,
// unless a _StridedShard says that a later one cuts before it. FSDP that is applied on top of tensor parallelism
// gives such placements: in (_StridedShard(0, split_factor=2), Shard(0)) tensor parallelism, the second
// dimension of the mesh, cuts the rows in two, then FSDP cuts what is left.
//
// So the dimensions of the mesh are put in the order in which they cut. From the last to the first, a Shard goes
// to the front, and a _StridedShard goes behind as many of those in front as make its split factor together.
#include "weights/torch/placement.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"

namespace mu {
namespace {

Error no_sense(std::string_view why) {
  return malformed(fmt::format("{} [FS-MESH]", why));
}

void require_sense(std::span<const std::uint64_t> shape, std::span<const std::uint64_t> mesh,
                   std::span<const std::uint64_t> coordinate, std::span<const Placement> placements) {
  if (placements.size() != mesh.size() || coordinate.size() != mesh.size())
    throw no_sense(fmt::format("its mesh has {} dimensions, its placements {} and its coordinate {}",
                               mesh.size(), placements.size(), coordinate.size()));
  for (std::size_t i = 0; i < mesh.size(); ++i) {
    const Placement& placement = placements[i];
    if (coordinate[i] >= mesh[i])
      throw no_sense(
          fmt::format("its coordinate {} lies outside the {} places of its mesh", coordinate[i], mesh[i]));
    if (placement.kind == Placement::Kind::kPartial)
      throw malformed("its values have yet to be summed up over the ranks (Partial) [FS-PARTIAL]")
          .hint("save the model outside of a training step, with full or sharded parameters");
    if (placement.kind == Placement::Kind::kReplicate) continue;
    if (placement.dim >= shape.size())
      throw no_sense(fmt::format("it is cut in dimension {} but has {}", placement.dim, shape.size()));
    if (placement.split_factor == 0) throw no_sense("its split factor is 0");
  }
}

// The dimensions of the mesh that cut dimension `dim` of the tensor, in the order in which they do.
std::vector<std::size_t> order_of_cuts(std::span<const std::uint64_t> mesh,
                                       std::span<const Placement> placements, std::uint64_t dim) {
  std::vector<std::size_t> order;
  for (std::size_t i = mesh.size(); i-- > 0;) {
    const Placement& placement = placements[i];
    if (placement.kind == Placement::Kind::kReplicate || placement.dim != dim) continue;
    std::size_t before = 0;
    std::uint64_t product = 1;
    const std::uint64_t wanted =
        placement.kind == Placement::Kind::kStridedShard ? placement.split_factor : 1;
    while (product < wanted && before < order.size()) {
      const std::uint64_t size = mesh[order[before++]];
      product = checked_mul(product, size).value_or(0);
      if (product == 0) break;
    }
    if (product != wanted)
      throw no_sense(fmt::format("no dimensions of its mesh make a split factor of {}", wanted));
    order.insert(order.begin() + static_cast<std::ptrdiff_t>(before), i);
  }
  return order;
}

}  // namespace

std::string placements_text(std::span<const Placement> placements) {
  std::string text = "(";
  for (const Placement& placement : placements) {
    if (text.size() > 1) text += ", ";
    switch (placement.kind) {
      case Placement::Kind::kShard:
        text += fmt::format("Shard({})", placement.dim);
        break;
      case Placement::Kind::kStridedShard:
        text += fmt::format("_StridedShard({}, {})", placement.dim, placement.split_factor);
        break;
      case Placement::Kind::kReplicate:
        text += "Replicate()";
        break;
      case Placement::Kind::kPartial:
        text += "Partial()";
        break;
    }
  }
  text += ")";
  return text;
}

Chunk chunk_of(std::uint64_t size, std::uint64_t count, std::uint64_t index) {
  const std::uint64_t each = size / count + (size % count != 0 ? 1 : 0);
  // An index whose product overflows is beyond the end.
  const std::uint64_t begin = std::min(checked_mul(index, each).value_or(size), size);
  return {begin, std::min(each, size - begin)};
}

Region place_region(std::span<const std::uint64_t> shape, std::span<const std::uint64_t> mesh,
                    std::span<const std::uint64_t> coordinate, std::span<const Placement> placements) {
  require_sense(shape, mesh, coordinate, placements);
  Region region{std::vector<std::uint64_t>(shape.size(), 0), {shape.begin(), shape.end()}};
  for (std::size_t dim = 0; dim < shape.size(); ++dim) {
    if (std::none_of(placements.begin(), placements.end(), [dim](const Placement& placement) {
          return placement.kind != Placement::Kind::kReplicate && placement.dim == dim;
        }))
      continue;
    for (const std::size_t i : order_of_cuts(mesh, placements, dim)) {
      const Chunk chunk = chunk_of(region.size[dim], mesh[i], coordinate[i]);
      region.begin[dim] += chunk.begin;
      region.size[dim] = chunk.size;
    }
  }
  return region;
}

}  // namespace mu
