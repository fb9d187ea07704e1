// SPDX-License-Identifier: Apache-2.0
#include "pack/sharding.h"

#include <doctest/doctest.h>

using namespace mu;

TEST_CASE("sharding: tensors of a block lie where the first of them does") {
  std::vector<PackedTensor> tensors(6, PackedTensor{nullptr, {"", Dtype::kU8, {10}, 10}});
  using Shards = std::vector<std::vector<std::size_t>>;
  CHECK(shards_of(tensors, 20) == Shards{{0, 1}, {2, 3}, {4, 5}});
  tensors[0].block = 7;
  tensors[4].block = 7;
  tensors[1].block = 8;
  CHECK(shards_of(tensors, 20) == Shards{{0, 4}, {1, 2}, {3, 5}});
  CHECK(shards_of(tensors, 15) == Shards{{0, 4}, {1}, {2}, {3}, {5}});  // a block may be above the limit
  CHECK(shards_of(tensors, 0).size() == 1);
}
