// SPDX-License-Identifier: Apache-2.0
#include "weights/shards.h"

#include <doctest/doctest.h>

using namespace mu;

namespace {

using Shards = std::vector<std::vector<std::size_t>>;

}  // namespace

TEST_CASE("shards: split as huggingface_hub does") {
  CHECK(split_into_shards({6, 6, 2, 6, 2, 2}, 10) == Shards{{0}, {1, 2}, {3, 4, 5}});
  CHECK(split_into_shards({10, 10}, 10) == Shards{{0}, {1}});
  CHECK(split_into_shards({5, 5, 1}, 10) == Shards{{0, 1}, {2}});
  CHECK(split_into_shards({20}, 10) == Shards{{0}});
  CHECK(split_into_shards({3, 20, 3, 3, 3}, 10) == Shards{{1}, {0, 2, 3}, {4}});
  CHECK(split_into_shards({}, 10).empty());
  CHECK(split_into_shards({5, 5, 5}, 0) == Shards{{0, 1, 2}});
  CHECK(split_into_shards({0, 0}, 1) == Shards{{0, 1}});
  // Sums beyond 64 bits.
  CHECK(split_into_shards({~std::uint64_t{0}, ~std::uint64_t{0}}, ~std::uint64_t{0}).size() == 2);
}

TEST_CASE("shards: names") {
  CHECK(shard_name("model", 1, 1) == "model.safetensors");
  CHECK(shard_name("model", 2, 3) == "model-00002-of-00003.safetensors");
  CHECK(index_name("model") == "model.safetensors.index.json");
  CHECK(index_name("adapter_model.x") == "adapter_model.x.safetensors.index.json");
  CHECK(index_name("diffusion_pytorch_model.fp16") == "diffusion_pytorch_model.safetensors.index.fp16.json");
}
