// SPDX-License-Identifier: Apache-2.0
// What tensors hold, found out by reading them piece by piece until it is clear.
#pragma once

#include <cstdint>

#include "weights/weights.h"

namespace mu {

// True if two tensors have the same type, shape and bytes. Reads up to `limit` bytes of each.
bool equal_bytes(const Weights& weights_a, const Tensor& a, const Weights& weights_b, const Tensor& b,
                 std::uint64_t limit = UINT64_MAX);

// True if every value is 0 or -0. Types without values that a CPU knows are zero if their bytes are.
bool is_zero(const Weights& weights, const Tensor& tensor);

}  // namespace mu
