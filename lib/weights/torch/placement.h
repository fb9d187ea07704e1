// SPDX-License-Identifier: Apache-2.0
// Which part of a tensor a process holds that was trained with others, as torch.distributed.tensor has it: the
// processes form a mesh, and each dimension of the mesh cuts a dimension of the tensor or copies it. Pure
// arithmetic, the same as torch's (tensor/_utils.py, compute_local_shape_and_global_offset).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mu {

// What one dimension of the mesh does with the tensor.
struct Placement {
  enum class Kind : std::uint8_t {
    kShard,         // cuts dimension `dim` of the tensor
    kStridedShard,  // the same after `split_factor` cuts by later dimensions of the mesh (FSDP over TP)
    kReplicate,     // copies it
    kPartial,       // the values of the processes have yet to be summed up
  } kind = Kind::kReplicate;
  std::uint64_t dim = 0;
  std::uint64_t split_factor = 1;

  bool operator==(const Placement&) const = default;
};

// "(Shard(0), Replicate())", as torch prints them.
std::string placements_text(std::span<const Placement> placements);

// A box in a tensor: its first index and its size in each dimension.
struct Region {
  std::vector<std::uint64_t> begin, size;

  bool operator==(const Region&) const = default;
};

// Chunk `index` of `count` that torch.chunk cuts `size` elements into: chunks of ceil(size / count), the last
// ones shorter or empty.
struct Chunk {
  std::uint64_t begin, size;

  bool operator==(const Chunk&) const = default;
};
Chunk chunk_of(std::uint64_t size, std::uint64_t count, std::uint64_t index);

// The part of a tensor of `shape` at `coordinate` of a mesh of the given sizes. Throws kMalformed [FS-MESH] for
// numbers that make no sense: another count of placements than of dimensions, dimensions that the tensor does
// not have, coordinates outside the mesh, split factors that no dimensions of the mesh explain, and
// [FS-PARTIAL] for values that have yet to be summed up.
Region place_region(std::span<const std::uint64_t> shape, std::span<const std::uint64_t> mesh,
                    std::span<const std::uint64_t> coordinate, std::span<const Placement> placements);

}  // namespace mu
