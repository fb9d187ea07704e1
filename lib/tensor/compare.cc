// SPDX-License-Identifier: Apache-2.0
#include "tensor/compare.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/decode.h"

namespace mu {
namespace {

constexpr std::size_t kBlock = 2048;  // values; 16 KiB of doubles stay in the first-level cache

void compare_value(double a, double b, Tolerance tolerance, Comparison& out) {
  const bool both_nan = std::isnan(a) && std::isnan(b);
  const bool equal = a == b || both_nan;
  const double distance = equal ? 0.0 : std::abs(a - b);
  const bool finite = std::isfinite(a) && std::isfinite(b);
  ++out.count;
  out.differing += equal ? 0U : 1U;
  out.outside +=
      equal || (finite && distance <= tolerance.absolute + tolerance.relative * std::abs(b)) ? 0U : 1U;
  // A NaN against a number counts as an infinite distance.
  out.max_abs = std::max(out.max_abs, std::isnan(distance) ? HUGE_VAL : distance);
  if (!finite) return;
  out.sum_abs += distance;
  out.sum_squares += distance * distance;
  out.dot += a * b;
  out.a_squares += a * a;
  out.b_squares += b * b;
}

}  // namespace

double Comparison::mean_abs() const {
  return count == 0 ? 0 : sum_abs / static_cast<double>(count);
}

double Comparison::relative_l2() const {
  if (sum_squares == 0) return 0;
  return b_squares == 0 ? HUGE_VAL : std::sqrt(sum_squares / b_squares);
}

double Comparison::cosine() const {
  if (a_squares == 0 || b_squares == 0) return a_squares == b_squares ? 1 : 0;
  return dot / (std::sqrt(a_squares) * std::sqrt(b_squares));
}

Comparison compare_pieces(Dtype a_dtype, std::span<const std::byte> a, Dtype b_dtype,
                          std::span<const std::byte> b, Tolerance tolerance) {
  std::array<double, kBlock> a_values;
  std::array<double, kBlock> b_values;
  Comparison total;
  const std::size_t count = value_count(a_dtype, a.size());
  const std::size_t a_block = kBlock * bits(a_dtype) / 8 / (a_dtype == Dtype::kC64 ? 2 : 1);
  const std::size_t b_block = kBlock * bits(b_dtype) / 8 / (b_dtype == Dtype::kC64 ? 2 : 1);
  for (std::size_t block = 0; block * kBlock < count; ++block) {
    const std::size_t size = std::min(kBlock, count - block * kBlock);
    decode(a_dtype, a.subspan(block * a_block, std::min(a_block, a.size() - block * a_block)),
           std::span(a_values).first(size));
    decode(b_dtype, b.subspan(block * b_block, std::min(b_block, b.size() - block * b_block)),
           std::span(b_values).first(size));
    Comparison part;
    for (std::size_t i = 0; i < size; ++i) compare_value(a_values[i], b_values[i], tolerance, part);
    merge_comparison(total, part);
  }
  return total;
}

void merge_comparison(Comparison& total, const Comparison& next) {
  total.count += next.count;
  total.differing += next.differing;
  total.outside += next.outside;
  total.max_abs = std::max(total.max_abs, next.max_abs);
  total.sum_abs += next.sum_abs;
  total.sum_squares += next.sum_squares;
  total.dot += next.dot;
  total.a_squares += next.a_squares;
  total.b_squares += next.b_squares;
}

}  // namespace mu
