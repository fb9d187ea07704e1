// SPDX-License-Identifier: Apache-2.0
// Which tensors lie in one shard: the rule of huggingface_hub, for which views of one tensor (experts of a stack) are
// one piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pack/select.h"

namespace mu {

// The numbers of the tensors of each shard, of at most `limit` bytes where a single piece is not larger; 0: no limit.
std::vector<std::vector<std::size_t>> shards_of(const std::vector<PackedTensor>& tensors,
                                                std::uint64_t limit);

}  // namespace mu
