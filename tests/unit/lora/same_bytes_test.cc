// SPDX-License-Identifier: Apache-2.0
// Results that are the same bytes with any compiler and on any machine: digests of what a build on x86-64 gave. A
// change here is a change of what users get: raise the version of the plans (lib/README.md).
#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "lora/dense.h"
#include "lora/low_rank.h"
#include "lora/product.h"
#include "lora/products.h"
#include "lora/random.h"
#include "tensor/cast.h"
#include "tensor/compare.h"
#include "tensor/stats.h"

using namespace mu;

namespace {

// The standard library's distributions differ from one library to the other.
std::vector<float> numbers(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = random_unit(seed, i);
  return values;
}

template <class T>
std::uint32_t crc(const std::vector<T>& values, std::uint32_t before = 0) {
  return static_cast<std::uint32_t>(crc32(before, reinterpret_cast<const Bytef*>(values.data()),
                                          static_cast<uInt>(values.size() * sizeof(T))));
}

// The kernels that this machine has.
std::vector<Products> kernels() {
  std::vector<Products> kernels;
  for (const std::string_view kernel : {"baseline", "avx2", "avx512", "neon"}) {
    try {
      kernels.emplace_back(kernel);
    } catch (const Error&) {
    }
  }
  return kernels;
}

bool fuses(const Products& products) {
  return products.name() != "baseline";
}

// One element of a product: sums of `most` terms, added up.
float ordered_sum(bool fused, std::size_t n, std::size_t most, const auto& a_at, const auto& x_at) {
  float total = 0;
  for (std::size_t first = 0; first < n; first += most) {
    float sum = 0;
    for (std::size_t k = first; k < std::min(n, first + most); ++k)
      sum = fused ? std::fma(a_at(k), x_at(k), sum) : sum + a_at(k) * x_at(k);
    total += sum;
  }
  return total;
}

std::uint32_t crc(const LowRank& found) {
  return crc(found.values, crc(found.right, crc(found.left)));
}

// A matrix [m, n] whose singular values fall quickly, with some noise.
std::vector<float> matrix(std::size_t m, std::size_t n) {
  constexpr std::size_t kRank = 24;
  std::vector<float> left = numbers(m * kRank, 1), right = numbers(kRank * n, 2), values = numbers(m * n, 3);
  for (std::size_t i = 0; i < left.size(); ++i) left[i] /= static_cast<float>(1 + i % kRank);
  for (float& value : values) value *= 0x1p-10F;
  add_product({.left = left.data(),
               .right = right.data(),
               .values = values.data(),
               .m = m,
               .n = n,
               .k = kRank,
               .stride = n,
               .scale = 1.0F});
  return values;
}

}  // namespace

TEST_CASE("same bytes: every kernel sums in the same order, and fuses or not as its name says") {
  constexpr std::size_t m = 19, n = 523, b = 37;
  const std::vector<float> a = numbers(m * n, 1), x = numbers(n * b, 2), q = numbers(m * b, 3),
                           w = numbers(n * m, 4);
  for (const Products& products : kernels()) {
    CAPTURE(std::string(products.name()));
    std::vector<float> y(m * b), z(m * b);
    products.multiply(a, m, n, x, b, y, 1);
    products.multiply_transposed(w, n, m, x, b, z, 1);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < b; ++j) {
        const auto x_at = [&](std::size_t k) { return x[k * b + j]; };
        wrong +=
            y[i * b + j] == ordered_sum(
                                fuses(products), n, 256, [&](std::size_t k) { return a[i * n + k]; }, x_at)
                ? 0
                : 1;
        wrong +=
            z[i * b + j] == ordered_sum(
                                fuses(products), n, 64, [&](std::size_t k) { return w[k * m + i]; }, x_at)
                ? 0
                : 1;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("same bytes: products and decompositions") {
  const std::vector<float> a = matrix(300, 230), small = matrix(80, 150);
  CHECK(crc(a) == 1989934136U);
  for (const Products& products : kernels()) {
    CAPTURE(std::string(products.name()));
    std::vector<float> y(300 * 40);
    products.multiply(a, 300, 230, numbers(230 * 40, 5), 40, y, 1);
    CHECK(crc(y) == (fuses(products) ? 2527968750U : 2046122342U));
    const LowRank fast = approximate(products, a, 300, 230, {.rank = 16});
    CHECK(crc(fast) == (fuses(products) ? 465650818U : 4068045673U));
    const LowRank exact = approximate(products, a, 300, 230, {.rank = 20, .gap = 1e-6, .max_blocks = 64});
    CHECK(crc(exact) == (fuses(products) ? 3612243597U : 3940666920U));
    CHECK(crc(approximate(products, a, 300, 230, {.rank = 100})) == 4174936734U);
    CHECK(crc(approximate(products, small, 80, 150, {.rank = 8})) == 3442995798U);
  }
}

TEST_CASE("same bytes: adapters cut and compared") {
  Factors factors{.a = {}, .b = {}, .rows = 130, .columns = 70, .rank = 12}, other = factors;
  for (const float value : numbers(12 * 70, 6)) factors.a.push_back(static_cast<double>(value));
  for (const float value : numbers(130 * 12, 7)) factors.b.push_back(static_cast<double>(value));
  other = factors;
  other.b[5] += 1;
  const CutDelta cut = cut_delta(factors, 4);
  CHECK(crc(cut.b, crc(cut.a)) == 834777412U);
  const DeltaComparison compared = compare_deltas(factors, other);
  CHECK(crc(std::vector<double>{compared.distance, compared.cosine}) == 282567216U);
}

TEST_CASE("same bytes: casts, statistics and comparisons of numbers") {
  std::vector<float> values = numbers(70'001, 8);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = std::ldexp(values[i], static_cast<int>(random_bits(9, i) % 300) - 150);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(values));
  CastReport report;
  std::uint32_t sum = 0;
  std::vector<std::byte> halves(values.size() * 2);
  for (const Dtype to : {Dtype::kF16, Dtype::kBF16, Dtype::kF8E4M3, Dtype::kF8E5M2, Dtype::kF64}) {
    std::vector<std::byte> out(values.size() * bits(to) / 8);
    cast(Dtype::kF32, to, bytes, out, report);
    sum = crc(out, sum);
    if (to == Dtype::kBF16) halves = out;
  }
  CHECK(sum == 1307104756U);
  TensorStats stats = piece_stats(Dtype::kF32, bytes);
  merge_stats(stats, piece_stats(Dtype::kBF16, halves));
  CHECK(crc(std::vector<double>{stats.min, stats.max, stats.mean, stats.squares, stats.std()}) ==
        2503115488U);
  const Comparison compared = compare_pieces(Dtype::kBF16, halves, Dtype::kF32, bytes, {});
  CHECK(crc(std::vector<double>{compared.sum_abs, compared.sum_squares, compared.dot, compared.cosine()}) ==
        1576116089U);
}
