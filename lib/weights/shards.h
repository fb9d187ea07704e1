// SPDX-License-Identifier: Apache-2.0
// How a model is cut into shards: the rule of huggingface_hub (serialization/_base.py), so that the same
// tensors in the same order give the same files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// Splits tensors of these sizes (bytes), in this order, into shards of at most `limit` bytes; returns the
// indices in each. A tensor above the limit gets a shard of its own at once, before the one being filled;
// that is why the order of shards is not always the order of tensors. limit 0 means no limit. No tensors give
// no shards.
std::vector<std::vector<std::size_t>> split_into_shards(const std::vector<std::uint64_t>& sizes,
                                                        std::uint64_t limit);

// "model.safetensors" for the only shard, else "model-00001-of-00003.safetensors" (number counts from 1).
std::string shard_name(std::string_view stem, std::size_t number, std::size_t count);

// "model.safetensors.index.json". Loaders want the variant of "model.fp16" at another place:
// "model.safetensors.index.fp16.json".
std::string index_name(std::string_view stem);

}  // namespace mu
