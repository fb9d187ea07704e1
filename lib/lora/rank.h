// SPDX-License-Identifier: Apache-2.0
// How many components of a difference between two models are more than noise. What drowns the small ones is
// drawn instead of estimated: the rounding of the tuned model's own values, and, where the noise is more than
// that, the difference itself under random signs, which destroy what is of low rank and keep every element's
// size (Hong, Sheng, Dobriban, arXiv:2012.02985).
#pragma once

#include <cstdint>
#include <span>

#include "lora/low_rank.h"
#include "tensor/dtype.h"

namespace mu {

// Of `delta` [m, n], approximated by `found`; `tuned` are the values that it ends at, as they are stored in
// `dtype`. At most found.values.size().
std::size_t noise_rank(const Products& products, std::span<const float> delta, std::span<const float> tuned,
                       std::size_t m, std::size_t n, Dtype dtype, const LowRank& found, std::uint64_t seed,
                       unsigned threads);

// The fewest components that hold `share` of the squared norm; found.values.size() if these don't.
std::size_t energy_rank(const LowRank& found, double share);

}  // namespace mu
