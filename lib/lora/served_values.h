// SPDX-License-Identifier: Apache-2.0
// The few tensors of an adapter for a server that are not views of tensors that are there: zeros, and products with a
// number. And a question about values that decides its form.
#pragma once

#include <cstdint>
#include <vector>

#include "lora/served_pairs.h"
#include "weights/weights.h"

namespace mu {

// Zeros of the type of `like`.
Tensor zeros(const Tensor& like, std::vector<std::uint64_t> shape);
// Zeros of the rank, alpha and types of `like`; with `experts` one pair for all of them.
FactorPair zero_pair(const FactorPair& like, std::uint64_t in, std::uint64_t out, std::uint64_t experts = 1);
// The pair with rows of zeros below A, and columns of zeros beside B, up to that rank.
FactorPair padded(const FactorPair& pair, std::uint64_t rank);

// Computed while it is read: in fp32, rounded once.
Tensor times(const Tensor& tensor, double factor);

// This reads. Both factors are zeros: training never leaves such a pair.
bool is_zero(const Weights& weights, const FactorPair& pair);

}  // namespace mu
