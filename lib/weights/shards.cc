// SPDX-License-Identifier: Apache-2.0
#include "weights/shards.h"

#include <fmt/format.h>

#include <numeric>

namespace mu {

std::vector<std::vector<std::size_t>> split_into_shards(const std::vector<std::uint64_t>& sizes,
                                                        std::uint64_t limit) {
  std::vector<std::vector<std::size_t>> shards;
  std::vector<std::size_t> current;
  std::uint64_t filled = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (limit != 0 && sizes[i] > limit) {
      shards.push_back({i});
      continue;
    }
    if (limit != 0 && filled > limit - sizes[i]) {
      shards.push_back(std::move(current));
      current.clear();
      filled = 0;
    }
    current.push_back(i);
    filled += sizes[i];
  }
  if (!current.empty()) shards.push_back(std::move(current));
  return shards;
}

std::string shard_name(std::string_view stem, std::size_t number, std::size_t count) {
  if (count == 1) return fmt::format("{}.safetensors", stem);
  return fmt::format("{}-{:05d}-of-{:05d}.safetensors", stem, number, count);
}

std::string index_name(std::string_view stem) {
  for (const std::string_view plain : {"model", "diffusion_pytorch_model"}) {
    if (stem.starts_with(plain) && stem.substr(plain.size()).starts_with('.'))
      return fmt::format("{}.safetensors.index{}.json", plain, stem.substr(plain.size()));
  }
  return fmt::format("{}.safetensors.index.json", stem);
}

}  // namespace mu
