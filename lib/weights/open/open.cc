// SPDX-License-Identifier: Apache-2.0
#include "weights/open/open.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "base/text.h"
#include "os/folder.h"
#include "weights/open/any.h"

namespace mu {
namespace {

// "model-00002-of-00003.safetensors" -> 3.
std::optional<std::uint64_t> shard_count_in_name(std::string_view name) {
  const std::size_t of = name.rfind("-of-");
  if (of == std::string_view::npos) return std::nullopt;
  std::uint64_t count = 0;
  const std::string_view digits = name.substr(of + 4);
  if (std::from_chars(digits.data(), digits.data() + digits.size(), count).ec != std::errc())
    return std::nullopt;
  return count;
}

// Compares index and shards, in both directions.
void check_index(Weights& weights, const std::vector<std::optional<std::uint32_t>>& source_of_shard) {
  const ShardIndex& index = *weights.index;
  const auto odd = [&](std::string_view rule, bool warning, std::string message, std::string file) {
    weights.findings.add({rule, Level::kSpec, warning, std::move(message), std::move(file)});
  };
  std::unordered_map<std::string_view, std::uint32_t> holder;
  holder.reserve(weights.tensors.size());
  for (const Tensor& tensor : weights.tensors) holder.emplace(tensor.name, tensor.source);
  std::unordered_map<std::string_view, std::string_view> listed;
  listed.reserve(index.weight_map.size());
  for (const auto& [tensor, shard] : index.weight_map) {
    listed.emplace(tensor, shard);
    const auto at = std::lower_bound(index.shards.begin(), index.shards.end(), shard) - index.shards.begin();
    const std::optional<std::uint32_t> expected = source_of_shard[static_cast<std::size_t>(at)];
    if (!expected) continue;  // reported as a missing shard
    const auto found = holder.find(tensor);
    if (found != holder.end() && found->second == *expected) continue;
    odd("IX-MISSING", false,
        fmt::format("tensor '{}' should be in {} but {}", escape_name(tensor), escape_name(shard),
                    found == holder.end()
                        ? "is in no shard"
                        : "is in " + escape_name(base_name(weights.files[found->second].name))),
        index.path);
  }
  for (const Tensor& tensor : weights.tensors) {
    if (listed.contains(tensor.name)) continue;
    odd("IX-EXTRA", false,
        fmt::format("tensor '{}' is not in the index; loaders ignore it", escape_name(tensor.name)),
        weights.files[tensor.source].name);
  }
  if (index.total_size && *index.total_size != weights.total_bytes()) {
    odd("IX-TOTAL", true,
        fmt::format("total_size says {} bytes, the tensors have {}", *index.total_size,
                    weights.total_bytes()),
        index.path);
  }
  for (const std::string& shard : index.shards) {
    const std::optional<std::uint64_t> count = shard_count_in_name(shard);
    if (!count || *count == index.shards.size()) continue;
    odd("IX-COUNT", true,
        fmt::format("{} counts {} shards, the index names {}", escape_name(shard), *count,
                    index.shards.size()),
        index.path);
    break;
  }
}

}  // namespace

Weights open_weights(const std::string& path, std::string_view key) {
  Weights weights;
  add_any(weights, InputFile(path), key);
  return weights;
}

Weights open_files(const std::vector<std::string>& paths, std::string_view key) {
  allow_open_files(paths.size());
  Weights weights;
  for (const std::string& path : paths) add_any(weights, InputFile(path), key);
  check_twice(weights);
  return weights;
}

Weights open_sharded(const std::string& index_path, std::string_view key) {
  Weights weights;
  weights.index =
      parse_shard_index(read_whole_file(index_path, kMaxIndexBytes), index_path, weights.findings);
  const std::string folder = parent_of(index_path);
  allow_open_files(weights.index->shards.size());
  std::vector<std::optional<std::uint32_t>> source_of_shard;
  for (const std::string& shard : weights.index->shards) {
    const std::string path = join_path(folder, shard);
    if (!exists(path)) {
      weights.findings.add({"IX-SHARD", Level::kLoads, false,
                            "the shard " + escape_name(shard) + " is missing; fetch or copy it again",
                            index_path});
      source_of_shard.emplace_back(std::nullopt);
      continue;
    }
    source_of_shard.emplace_back(static_cast<std::uint32_t>(weights.files.size()));
    add_any(weights, InputFile(path), key);
  }
  if (weights.findings.first_up_to(Level::kLoads) == nullptr) {
    check_twice(weights);
    check_index(weights, source_of_shard);
  }
  return weights;
}

}  // namespace mu
