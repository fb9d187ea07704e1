// SPDX-License-Identifier: Apache-2.0
// The index of a sharded model, `model.safetensors.index.json`: {"metadata": {"total_size": N, …},
// "weight_map": {tensor: file}}. Read with every name checked, written as huggingface_hub writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/finding.h"
#include "base/json.h"

namespace mu {

struct ShardIndex {
  std::string path;  // of the index file
  // Tensor and the shard that should hold it, in the order of the file.
  std::vector<std::pair<std::string, std::string>> weight_map;
  std::vector<std::string> shards;  // each once, sorted
  std::optional<std::uint64_t> total_size;
  JsonValue metadata;  // an object, or null
};

inline constexpr std::uint64_t kMaxIndexBytes = 250'000'000;  // the largest that @huggingface/hub reads
inline constexpr std::size_t kMaxShards = 10'000;             // likewise

// Parses an index. Duplicate tensors are findings (IX-DUP, the last counts). Throws kMalformed when it is not
// an index or when a shard's name would leave the folder (IX-PATH).
ShardIndex parse_shard_index(std::string_view text, std::string_view path, Findings& findings);

// Why a shard's name is not followed, or nothing when it is a plain relative name.
std::optional<std::string_view> unsafe_name(std::string_view name);

// The text of an index, as json.dump(…, indent=2) writes it, without a newline at the end. Metadata values
// are JSON already and keep their order.
std::string write_shard_index(const std::vector<std::pair<std::string, std::string>>& metadata,
                              const std::vector<std::pair<std::string, std::string>>& weight_map);

}  // namespace mu
