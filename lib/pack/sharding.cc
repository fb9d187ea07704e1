// SPDX-License-Identifier: Apache-2.0
#include "pack/sharding.h"

#include "weights/shards.h"

namespace mu {

std::vector<std::vector<std::size_t>> shards_of(const std::vector<PackedTensor>& tensors,
                                                std::uint64_t limit) {
  std::vector<std::uint64_t> sizes;  // of tensors, or of several that stay together
  std::vector<std::size_t> firsts;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i].stays_with_previous) {
      firsts.push_back(i);
      sizes.push_back(0);
    }
    sizes.back() += tensors[i].output.size;
  }
  firsts.push_back(tensors.size());
  std::vector<std::vector<std::size_t>> shards = split_into_shards(sizes, limit);
  for (std::vector<std::size_t>& shard : shards) {
    std::vector<std::size_t> members;
    for (const std::size_t unit : shard) {
      for (std::size_t i = firsts[unit]; i < firsts[unit + 1]; ++i) members.push_back(i);
    }
    shard = std::move(members);
  }
  return shards;
}

}  // namespace mu
