// SPDX-License-Identifier: Apache-2.0
#include "pack/sharding.h"

#include <optional>
#include <unordered_map>

#include "weights/shards.h"

namespace mu {

std::vector<std::vector<std::size_t>> shards_of(const std::vector<PackedTensor>& tensors,
                                                std::uint64_t limit) {
  std::vector<std::vector<std::size_t>>
      units;                         // of one tensor, or of those of a block, where the first of them is
  std::vector<std::uint64_t> sizes;  // of the units, bytes
  std::unordered_map<std::size_t, std::size_t> unit_of;  // by block
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::optional<std::size_t> block = tensors[i].block;
    const std::size_t unit = block ? unit_of.try_emplace(*block, units.size()).first->second : units.size();
    if (unit == units.size()) {
      units.emplace_back();
      sizes.push_back(0);
    }
    units[unit].push_back(i);
    sizes[unit] += tensors[i].output.size;
  }
  std::vector<std::vector<std::size_t>> shards = split_into_shards(sizes, limit);
  for (std::vector<std::size_t>& shard : shards) {
    std::vector<std::size_t> members;
    for (const std::size_t unit : shard)
      members.insert(members.end(), units[unit].begin(), units[unit].end());
    shard = std::move(members);
  }
  return shards;
}

}  // namespace mu
