// SPDX-License-Identifier: Apache-2.0
// A piece is decoded in blocks that stay in the first-level cache and each block is passed over three times:
// counts and extremes from the bits, the sum, the squares around the block's mean. Sums run in eight fixed
// lanes.
#include "tensor/stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "tensor/decode.h"
#include "tensor/simd.h"

namespace mu {
namespace {

constexpr std::size_t kBlock = 2048;  // values; 16 KiB of doubles
constexpr std::size_t kLanes = 8;     // two AVX2 registers of doubles

// The bits of a float or double, and what their fields mean.
template <typename T>
struct Bits;
template <>
struct Bits<float> {
  using Word = std::uint32_t;
  static constexpr int kMantissa = 23, kBias = 127;
};
template <>
struct Bits<double> {
  using Word = std::uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023;
};

struct BlockCounts {
  std::uint64_t nan = 0, positive_infinity = 0, negative_infinity = 0, zero = 0, negative_zero = 0,
                subnormal = 0;
  std::uint64_t finite = 0;
  std::uint64_t all_bits = 0;  // bits that are set in any value
};

// Smallest normal number of a dtype, as the bits of a T.
template <typename T>
typename Bits<T>::Word smallest_normal(Dtype dtype) {
  using Word = typename Bits<T>::Word;
  const auto power = [](int exponent) {
    return static_cast<Word>(exponent + Bits<T>::kBias) << Bits<T>::kMantissa;
  };
  switch (dtype) {
    case Dtype::kF16:
    case Dtype::kF8E5M2:
      return power(-14);
    case Dtype::kF8E4M3:
      return power(-6);
    case Dtype::kF8E4M3Fnuz:
      return power(-7);
    case Dtype::kF8E5M2Fnuz:
      return power(-15);
    case Dtype::kF4:
      return power(0);
    default:
      return Word{1} << Bits<T>::kMantissa;
  }
}

template <typename T>
[[gnu::always_inline]] inline void count_block_body(const T* values, std::size_t count,
                                                    typename Bits<T>::Word normal, BlockCounts& out,
                                                    T& min_out, T& max_out) {
  using Word = typename Bits<T>::Word;
  constexpr Word kSign = Word{1} << (sizeof(T) * 8 - 1);
  constexpr Word kInfinity = (kSign - 1) & ~((Word{1} << Bits<T>::kMantissa) - 1);
  Word nan = 0, infinite = 0, negative_infinite = 0, zero = 0, negative_zero = 0, small = 0, any = 0;
  T low = std::bit_cast<T>(kInfinity);
  T high = -low;
  for (std::size_t i = 0; i < count; ++i) {
    const Word bits = std::bit_cast<Word>(values[i]);
    const Word a = bits & ~kSign;
    nan += a > kInfinity ? 1U : 0U;
    infinite += a == kInfinity ? 1U : 0U;
    negative_infinite += bits == (kInfinity | kSign) ? 1U : 0U;
    zero += a == 0 ? 1U : 0U;
    negative_zero += bits == kSign ? 1U : 0U;
    small += a < normal ? 1U : 0U;
    any |= bits;
    const T finite_low = a < kInfinity ? values[i] : std::bit_cast<T>(kInfinity);
    const T finite_high = a < kInfinity ? values[i] : -std::bit_cast<T>(kInfinity);
    low = finite_low < low ? finite_low : low;
    high = finite_high > high ? finite_high : high;
  }
  out.nan = nan;
  out.negative_infinity = negative_infinite;
  out.positive_infinity = infinite - negative_infinite;
  out.zero = zero;
  out.negative_zero = negative_zero;
  out.subnormal = small - zero;
  out.finite = count - nan - infinite;
  out.all_bits = any;
  min_out = low;
  max_out = high;
}

MU_SIMD void count_block(const float* values, std::size_t count, std::uint32_t normal, BlockCounts& out,
                         float& min, float& max) {
  count_block_body(values, count, normal, out, min, max);
}
MU_SIMD void count_block(const double* values, std::size_t count, std::uint64_t normal, BlockCounts& out,
                         double& min, double& max) {
  count_block_body(values, count, normal, out, min, max);
}

using Lanes = std::array<double, kLanes>;

double fold(const Lanes& lanes) {
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// Sum of (x - center)^power over the finite values, power 1 or 2; the rest of a last incomplete group goes to
// the first lanes, as everywhere.
template <bool kSquare, typename T>
[[gnu::always_inline]] inline void sum_block_body(const T* values, std::size_t count, double center,
                                                  Lanes& out) {
  const auto term = [center](T value) {
    const double distance = static_cast<double>(value) - center;
    const double term_value = kSquare ? distance * distance : distance;
    return std::abs(value) <= std::numeric_limits<T>::max() ? term_value : 0.0;
  };
  Lanes lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(values[i + lane]);
  }
  for (std::size_t lane = 0; i < count; ++i, ++lane) lanes[lane] += term(values[i]);
  out = lanes;
}

MU_SIMD void sum_block(const float* values, std::size_t count, Lanes& out) {
  sum_block_body<false>(values, count, 0.0, out);
}
MU_SIMD void sum_block(const double* values, std::size_t count, Lanes& out) {
  sum_block_body<false>(values, count, 0.0, out);
}
MU_SIMD void square_block(const float* values, std::size_t count, double center, Lanes& out) {
  sum_block_body<true>(values, count, center, out);
}
MU_SIMD void square_block(const double* values, std::size_t count, double center, Lanes& out) {
  sum_block_body<true>(values, count, center, out);
}

// Four tables, so that equal neighbours don't wait for each other's store.
using ExponentTables = std::array<std::array<std::uint32_t, 256>, 4>;

void count_exponents(std::span<const float> values, ExponentTables& tables) {
  for (std::size_t i = 0; i < values.size(); ++i)
    ++tables[i % 4][(std::bit_cast<std::uint32_t>(values[i]) >> 23) & 0xFFU];
}

void count_exponents(std::span<const double> values, ExponentTables& tables) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int exponent = static_cast<int>((std::bit_cast<std::uint64_t>(values[i]) >> 52) & 0x7FFU);
    const int slot = exponent == 0x7FF ? 255 : std::clamp(exponent - 1023 + 127, 0, 254);
    ++tables[i % 4][static_cast<std::size_t>(slot)];
  }
}

template <typename T>
TensorStats block_stats(Dtype dtype, std::span<const T> values, ExponentTables& tables) {
  BlockCounts counts;
  T low = 0;
  T high = 0;
  count_block(values.data(), values.size(), smallest_normal<T>(dtype), counts, low, high);
  TensorStats stats;
  stats.count = values.size();
  stats.nan = counts.nan;
  stats.positive_infinity = counts.positive_infinity;
  stats.negative_infinity = counts.negative_infinity;
  stats.zero = counts.zero;
  stats.negative_zero = counts.negative_zero;
  stats.subnormal = is_floating(dtype) || dtype == Dtype::kC64 ? counts.subnormal : 0;
  stats.finite = counts.finite;
  stats.fits_bf16 = dtype != Dtype::kF32 || (counts.all_bits & 0xFFFFU) == 0;
  count_exponents(values, tables);
  if (counts.finite == 0) return stats;
  stats.min = static_cast<double>(low);
  stats.max = static_cast<double>(high);
  Lanes lanes;
  sum_block(values.data(), values.size(), lanes);
  stats.mean = fold(lanes) / static_cast<double>(counts.finite);
  square_block(values.data(), values.size(), stats.mean, lanes);
  stats.squares = fold(lanes);
  return stats;
}

template <typename T>
TensorStats decoded_stats(Dtype dtype, std::span<const std::byte> piece) {
  alignas(64) std::array<T, kBlock> block;
  ExponentTables tables{};
  TensorStats total;
  const std::size_t block_bytes =
      kBlock * piece.size() / std::max<std::size_t>(value_count(dtype, piece.size()), 1);
  for (std::size_t at = 0; at < piece.size(); at += block_bytes) {
    const std::span<const std::byte> bytes = piece.subspan(at, std::min(block_bytes, piece.size() - at));
    const std::span<T> values = std::span(block).first(value_count(dtype, bytes.size()));
    decode(dtype, bytes, values);
    merge_stats(total, block_stats<T>(dtype, values, tables));
  }
  // Slot e holds exponent e - 127; zeros and subnormal floats share slot 0, infinities and NaN fill slot 255.
  for (const auto& table : tables) {
    for (std::size_t slot = 0; slot < 255; ++slot) total.exponents[slot + 1] += table[slot];
  }
  total.exponents[1] -= std::min(total.exponents[1], total.zero);
  return total;
}

std::uint64_t count_not_boolean(std::span<const std::byte> bytes) {
  return static_cast<std::uint64_t>(
      std::count_if(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; }));
}

}  // namespace

double TensorStats::std() const {
  return finite < 2 ? std::numeric_limits<double>::quiet_NaN()
                    : std::sqrt(squares / static_cast<double>(finite - 1));
}

double TensorStats::absmax() const {
  return finite == 0 ? 0 : std::max(std::abs(min), std::abs(max));
}

TensorStats piece_stats(Dtype dtype, std::span<const std::byte> piece) {
  TensorStats stats =
      fits_float(dtype) ? decoded_stats<float>(dtype, piece) : decoded_stats<double>(dtype, piece);
  if (dtype == Dtype::kBool) stats.not_boolean = count_not_boolean(piece);
  return stats;
}

void merge_stats(TensorStats& total, const TensorStats& next) {
  if (next.finite > 0) {
    if (total.finite == 0) {
      total.min = next.min;
      total.max = next.max;
      total.mean = next.mean;
      total.squares = next.squares;
    } else {
      const auto have = static_cast<double>(total.finite);
      const auto more = static_cast<double>(next.finite);
      const double delta = next.mean - total.mean;
      total.mean += delta * (more / (have + more));
      total.squares += next.squares + delta * delta * (have * more / (have + more));
      total.min = std::min(total.min, next.min);
      total.max = std::max(total.max, next.max);
    }
  }
  total.count += next.count;
  total.nan += next.nan;
  total.positive_infinity += next.positive_infinity;
  total.negative_infinity += next.negative_infinity;
  total.zero += next.zero;
  total.negative_zero += next.negative_zero;
  total.subnormal += next.subnormal;
  total.not_boolean += next.not_boolean;
  total.finite += next.finite;
  total.fits_bf16 = total.fits_bf16 && next.fits_bf16;
  for (std::size_t i = 0; i < total.exponents.size(); ++i) total.exponents[i] += next.exponents[i];
}

std::string draw_magnitudes(const TensorStats& stats, std::size_t width) {
  const auto last =
      std::find_if(stats.exponents.rbegin(), stats.exponents.rend(), [](std::uint64_t n) { return n > 0; });
  if (last == stats.exponents.rend() || width == 0) return "";
  const auto top = static_cast<std::size_t>(stats.exponents.rend() - last) - 1;
  std::vector<std::uint64_t> columns(width, 0);
  for (std::size_t slot = 0; slot <= top; ++slot) {
    const std::size_t from_right = std::min(top - slot, width - 1);
    columns[width - 1 - from_right] += stats.exponents[slot];
  }
  const std::uint64_t tallest = *std::max_element(columns.begin(), columns.end());
  constexpr std::array<std::string_view, 8> kHeights = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string line;
  for (const std::uint64_t column : columns) {
    const double fraction = static_cast<double>(column) / static_cast<double>(tallest);
    line += column == 0 ? " " : kHeights[std::min<std::size_t>(7, static_cast<std::size_t>(fraction * 8))];
  }
  return line;
}

}  // namespace mu
