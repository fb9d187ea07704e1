// SPDX-License-Identifier: Apache-2.0
// How many components of a difference between two models are more than noise? The noise that drowns the small
// ones is simulated instead of estimated: the rounding of the tuned model's own values and, if there is more
// noise than that, the difference itself under random signs. Random signs destroy low-rank structure and keep
// the size of every element (Hong, Sheng, Dobriban, arXiv:2012.02985).
#pragma once

#include <cstdint>
#include <span>

#include "lora/low_rank.h"
#include "tensor/dtype.h"

namespace mu {

// The rank of `delta` [m, n], which `found` approximates; `tuned` are the values of the tuned model, stored
// as `dtype`. At most found.values.size().
std::size_t noise_rank(const Products& products, std::span<const float> delta, std::span<const float> tuned,
                       std::size_t m, std::size_t n, Dtype dtype, const LowRank& found, std::uint64_t seed,
                       unsigned threads);

// True if the largest singular value of a difference is no larger than what rounding `tuned` to `dtype` alone makes.
bool is_rounding(const Products& products, std::span<const float> tuned, std::size_t m, std::size_t n,
                 Dtype dtype, const LowRank& found, std::uint64_t seed, unsigned threads);

// True if it is no larger than that of the difference itself under random signs, by the margin that such values
// scatter: noise of any size, without structure.
bool is_unstructured(const Products& products, std::span<const float> delta, std::size_t m, std::size_t n,
                     const LowRank& found, std::uint64_t seed, unsigned threads);

// Of two types, the one that rounds more.
Dtype coarser(Dtype a, Dtype b);

// The fewest components that hold `fraction` of the squared norm; found.values.size() if these don't.
std::size_t energy_rank(const LowRank& found, double fraction);

}  // namespace mu
