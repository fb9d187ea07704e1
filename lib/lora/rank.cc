// SPDX-License-Identifier: Apache-2.0
#include "lora/rank.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lora/random.h"

namespace mu {
namespace {

// Rounds of power iteration for a spectral norm. It is estimated from below, by blocks of eight columns; the
// margins below cover what four rounds still miss.
constexpr unsigned kRounds = 4;
// A component counts if it is above these multiples of the simulated noise. With them the rank was exact where
// it was known: 8, 16 and 64 in matrices of 1024 x 1024 and 1024 x 2048 with Gaussian and heavy-tailed weights,
// deltas of 0.3 % and 1 %, rounded to bf16; and 4 in the 14 matrices of the fixture pair. A larger margin
// would lose small components, a smaller one keep noise.
constexpr double kRoundingMargin = 1.1, kFlipMargin = 1.02;

// Bits of the significand after the point; 0 for types whose rounding is negligible noise.
int significand_bits(Dtype dtype) {
  return dtype == Dtype::kBF16 ? 7 : dtype == Dtype::kF16 ? 10 : 0;
}

// The noise that rounding to `dtype` adds: the largest spectral norm of three draws.
double rounding_edge(const Products& products, std::span<const float> tuned, std::size_t m, std::size_t n,
                     Dtype dtype, std::uint64_t seed, unsigned threads) {
  const int digits = significand_bits(dtype);
  if (digits == 0) return 0;
  const int smallest = dtype == Dtype::kF16 ? -14 : -126;
  std::vector<float> noise(tuned.size());
  double edge = 0;
  for (std::uint64_t draw = 0; draw < 3; ++draw) {
    for (std::size_t i = 0; i < noise.size(); ++i) {
      int exponent = 0;
      std::frexp(tuned[i], &exponent);
      const float ulp = std::ldexp(1.0F, std::max(exponent - 1, smallest) - digits);
      noise[i] = ulp * random_unit(seed + draw, i);
    }
    edge = std::max(edge, spectral_norm(products, noise, m, n, seed + draw, kRounds, threads));
  }
  return edge;
}

// The spectral norm of what the first `rank` components leave, under random signs.
double flip_edge(const Products& products, std::span<const float> delta, std::size_t m, std::size_t n,
                 const LowRank& found, std::size_t rank, std::uint64_t seed, unsigned threads) {
  std::vector<float> rest(delta.begin(), delta.end());
  if (rank > 0) {
    std::vector<float> left(m * rank), product(m * n);
    for (std::size_t i = 0; i < m; ++i)
      std::copy_n(found.left.begin() + static_cast<std::ptrdiff_t>(i * found.rank), rank,
                  left.begin() + static_cast<std::ptrdiff_t>(i * rank));
    products.multiply(left, m, rank, std::span(found.right).first(rank * n), n, product, threads);
    for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= product[i];
  }
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (random_sign(seed, i)) rest[i] = -rest[i];
  }
  const auto md = static_cast<double>(m), nd = static_cast<double>(n), k = static_cast<double>(rank);
  const double grown = (md - k) * (nd - k) > 0 ? std::sqrt(md * nd / ((md - k) * (nd - k))) : 1;
  return grown * spectral_norm(products, rest, m, n, seed, kRounds, threads);
}

}  // namespace

std::size_t noise_rank(const Products& products, std::span<const float> delta, std::span<const float> tuned,
                       std::size_t m, std::size_t n, Dtype dtype, const LowRank& found, std::uint64_t seed,
                       unsigned threads) {
  const auto above = [&](double threshold) {
    return static_cast<std::size_t>(
        std::count_if(found.values.begin(), found.values.end(), [&](double s) { return s > threshold; }));
  };
  const std::size_t most =
      above(kRoundingMargin * rounding_edge(products, tuned, m, n, dtype, seed, threads));
  // Goes up from zero: going down from a large rank does not converge.
  std::size_t rank = 0;
  while (rank < most) {
    const std::size_t next = std::min(
        {most, found.rank,
         above(kFlipMargin * flip_edge(products, delta, m, n, found, rank, seed + 7 + rank, threads))});
    if (next <= rank) break;
    rank = next;
  }
  return rank;
}

bool is_rounding(const Products& products, std::span<const float> tuned, std::size_t m, std::size_t n,
                 Dtype dtype, const LowRank& found, std::uint64_t seed, unsigned threads) {
  if (found.values.empty() || significand_bits(dtype) == 0) return false;
  return found.values.front() <= kRoundingMargin * rounding_edge(products, tuned, m, n, dtype, seed, threads);
}

bool is_unstructured(const Products& products, std::span<const float> delta, std::size_t m, std::size_t n,
                     const LowRank& found, std::uint64_t seed, unsigned threads) {
  if (found.values.empty()) return true;
  // The largest singular values of random matrices scatter by about n^(-2/3) (Tracy and Widom). Of 64 x 64, this
  // margin passes one in a thousand.
  const double margin = 1 + 1.5 * std::pow(static_cast<double>(std::min(m, n)), -2.0 / 3);
  return found.values.front() <= margin * flip_edge(products, delta, m, n, found, 0, seed, threads);
}

Dtype coarser(Dtype a, Dtype b) {
  const int left = significand_bits(a), right = significand_bits(b);
  if (left == 0 || right == 0) return left == 0 ? b : a;
  return left < right ? a : b;
}

std::size_t energy_rank(const LowRank& found, double fraction) {
  double sum = 0;
  for (std::size_t k = 0; k < found.values.size(); ++k) {
    if (sum >= fraction * found.total) return k;
    sum += found.values[k] * found.values[k];
  }
  return found.values.size();
}

}  // namespace mu
