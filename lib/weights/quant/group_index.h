// SPDX-License-Identifier: Apache-2.0
// g_idx: which group of scales each column of a weight is in, where quantisation took the columns in an order of its
// own (act-order, desc_act).
#pragma once

#include <cstdint>
#include <span>

#include "weights/gather.h"
#include "weights/weights.h"

namespace mu {

// Checks type, shape and every value. False where it holds -1, by which libraries say that it is not used. Throws
// kMalformed.
bool check_group_index(const Weights& weights, const Tensor& index, std::uint64_t columns,
                       std::uint64_t groups);

// Fills `out` with the groups of columns from `first` on. Throws kMalformed for one that is not below `groups`: a file
// may have changed since it was checked.
void read_group_index(const Sources& sources, std::size_t which, std::uint64_t first, std::uint64_t groups,
                      std::span<std::uint32_t> out);

}  // namespace mu
