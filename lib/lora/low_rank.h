// SPDX-License-Identifier: Apache-2.0
// The best approximation of a matrix by one of low rank: block Krylov iteration (Musco and Musco,
// arXiv:1504.05477) with full reorthogonalisation, large products in fp32, all small work in fp64. Results
// depend on the matrix, the options and the kernel alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lora/factors.h"
#include "lora/products.h"

namespace mu {

struct LowRankOptions {
  std::size_t rank = 64;
  double gap = 0.0025;  // of the error over the optimum, at which iterating stops
  std::size_t max_blocks = 10;
  std::uint64_t seed = 0;  // of the first block's signs
  unsigned threads = 1;
};

// Of a[m, n], row-major, finite.
LowRank approximate(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                    const LowRankOptions& options);

// Floating-point operations of approximate() for a matrix of that shape, about.
double work_of(std::size_t m, std::size_t n, std::size_t rank);

// ||a - left right||_F^2 with the factors as they are given.
double squared_error(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                     std::span<const float> left, std::span<const float> right, std::size_t rank,
                     unsigned threads);

// An estimate from below of the largest singular value, by `rounds` of block power iteration.
double spectral_norm(const Products& products, std::span<const float> a, std::size_t m, std::size_t n,
                     std::uint64_t seed, unsigned rounds, unsigned threads);

}  // namespace mu
