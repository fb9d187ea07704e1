// SPDX-License-Identifier: Apache-2.0
#include "tensor/stats.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace mu;

namespace {

template <typename T>
TensorStats stats_of(Dtype dtype, const std::vector<T>& values) {
  return piece_stats(dtype, std::as_bytes(std::span(values)));
}

}  // namespace

TEST_CASE("stats: agree with sums in long double") {
  std::mt19937 random(7);
  for (const double center : {0.0, 1e6}) {
    std::normal_distribution<float> normal(static_cast<float>(center), 0.02F);
    std::vector<float> values(100'003);
    for (float& value : values) value = normal(random);
    long double sum = 0;
    for (const float value : values) sum += static_cast<long double>(value);
    const long double mean = sum / static_cast<long double>(values.size());
    long double squares = 0;
    for (const float value : values)
      squares += (static_cast<long double>(value) - mean) * (static_cast<long double>(value) - mean);
    const TensorStats stats = stats_of(Dtype::kF32, values);
    CHECK(stats.mean == doctest::Approx(static_cast<double>(mean)).epsilon(1e-14));
    CHECK(stats.std() == doctest::Approx(static_cast<double>(std::sqrt(
                                             squares / static_cast<long double>(values.size() - 1))))
                             .epsilon(1e-12));
    CHECK(stats.min == static_cast<double>(*std::min_element(values.begin(), values.end())));
    CHECK(stats.max == static_cast<double>(*std::max_element(values.begin(), values.end())));
  }
}

TEST_CASE("stats: special values are counted apart") {
  const float nan = std::nanf("");
  const std::vector<float> values = {1.0F, -2.0F,     0.0F,       -0.0F,      nan,
                                     nan,  HUGE_VALF, -HUGE_VALF, -HUGE_VALF, 1e-40F};
  const TensorStats stats = stats_of(Dtype::kF32, values);
  CHECK(stats.count == 10);
  CHECK(stats.nan == 2);
  CHECK(stats.positive_infinity == 1);
  CHECK(stats.negative_infinity == 2);
  CHECK(stats.zero == 2);
  CHECK(stats.negative_zero == 1);
  CHECK(stats.subnormal == 1);
  CHECK(stats.finite == 5);
  CHECK(stats.min == -2);
  CHECK(stats.max == 1);
  CHECK(stats.mean == doctest::Approx(-0.2));
  CHECK(stats.absmax() == 2);
}

TEST_CASE("stats: halves, integers, booleans, doubles") {
  const TensorStats half = stats_of(Dtype::kF16, std::vector<std::uint16_t>{0x3C00, 0xC000, 0x0001, 0x7C00});
  CHECK(half.max == 1);
  CHECK(half.min == -2);
  CHECK(half.subnormal == 1);
  CHECK(half.positive_infinity == 1);
  const TensorStats big = stats_of(Dtype::kI64, std::vector<std::int64_t>{1LL << 40, -(1LL << 41)});
  CHECK(big.max == 0x1p40);
  CHECK(big.min == -0x1p41);
  CHECK(stats_of(Dtype::kBool, std::vector<std::uint8_t>{0, 1, 2, 255}).not_boolean == 2);
  const TensorStats wide = stats_of(Dtype::kF64, std::vector<double>{1e300, -1e300, std::nan("")});
  CHECK(wide.max == 1e300);
  CHECK(wide.nan == 1);
  CHECK(stats_of(Dtype::kC64, std::vector<float>{1, 2, 3, 4}).count == 4);
}

TEST_CASE("stats: constant, all zero, fits bf16") {
  CHECK(stats_of(Dtype::kF32, std::vector<float>(3000, 0.0F)).all_zero());
  CHECK(stats_of(Dtype::kF32, std::vector<float>(3000, 2.5F)).constant());
  CHECK_FALSE(stats_of(Dtype::kF32, std::vector<float>{1, 2}).constant());
  CHECK(stats_of(Dtype::kF32, std::vector<float>{1.5F, -2.0F}).fits_bf16);
  CHECK_FALSE(stats_of(Dtype::kF32, std::vector<float>{1.5F, 0.1F}).fits_bf16);
  CHECK(std::isnan(stats_of(Dtype::kF32, std::vector<float>{1}).std()));
  CHECK(stats_of(Dtype::kF32, std::vector<float>{}).count == 0);
}

TEST_CASE("stats: magnitudes are counted by power of two") {
  const TensorStats stats =
      stats_of(Dtype::kF32, std::vector<float>{0.0F, 1.0F, 1.5F, 2.0F, -4.0F, HUGE_VALF});
  CHECK(stats.exponents[128] == 2);
  CHECK(stats.exponents[129] == 1);
  CHECK(stats.exponents[130] == 1);
  std::uint64_t total = 0;
  for (const std::uint64_t count : stats.exponents) total += count;
  CHECK(total == 4);
  CHECK(draw_magnitudes(stats, 3) == "█▅▅");
  CHECK(draw_magnitudes(stats_of(Dtype::kF32, std::vector<float>{0}), 3).empty());
}
