// SPDX-License-Identifier: Apache-2.0
// The best approximation of a matrix by one of low rank: block Krylov iteration (Musco and Musco,
// arXiv:1504.05477) with full reorthogonalisation; large products in fp32, all small work in fp64. Results
// depend only on the matrix, the options and the kernel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lora/factors.h"
#include "lora/products.h"

namespace mu {

struct LowRankOptions {
  std::size_t rank = 64;
  double gap = 0.0025;  // stop once the error is within this of the optimum, relative
  std::size_t max_blocks = 10;
  std::uint64_t seed = 0;  // for the signs of the first block
  unsigned threads = 1;
};

// Approximates a[m, n], which is row-major and finite.
LowRank approximate(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                    const LowRankOptions& options);

// About how many floating-point operations approximate() needs for a matrix of that shape.
double work_of(std::size_t m, std::size_t n, std::size_t rank);

// |a - left right||_F^2 with the factors exactly as given.
double squared_error(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                     std::span<const float> left, std::span<const float> right, std::size_t rank,
                     unsigned threads);

// A lower estimate of the largest singular value, by `rounds` rounds of block power iteration.
double spectral_norm(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                     std::uint64_t seed, unsigned rounds, unsigned threads);

}  // namespace mu
