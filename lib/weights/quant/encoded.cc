// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/encoded.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/text.h"
#include "tensor/simd.h"

namespace mu {
namespace {

// Magnitudes of floats have the order of their bits, and beyond the finite ones come infinity and NaN.
MU_SIMD std::uint32_t largest_bits(const float* values, std::size_t count) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(values[i]) & 0x7FFFFFFFU;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

}  // namespace

Error not_finite(const Tensor& weight) {
  return malformed(
             fmt::format("'{}' holds NaN or infinity, which can't be quantised", escape_name(weight.name)))
      .hint("st-inspect --fail-on nan,inf shows where; --keep leaves a module as it is");
}

float largest_magnitude(std::span<const float> values, const Tensor& weight) {
  const std::uint32_t bits = largest_bits(values.data(), values.size());
  if (bits >= 0x7F800000U) throw not_finite(weight);
  return std::bit_cast<float>(bits);
}

void QuantError::Piece::add(std::span<const float> plain, std::span<const float> again) {
  count += plain.size();
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double value = plain[i], moved = std::abs(value - static_cast<double>(again[i]));
    squares += value * value;
    difference += moved * moved;
    largest = std::max(largest, moved);
  }
}

void QuantError::add(const Piece& piece) {
  const std::lock_guard lock(mutex_);
  if (missing_ < piece.count) return;
  missing_ -= piece.count;
  pieces_.push_back(piece);
  if (missing_ > 0) return;
  // In order, so that the sums don't depend on which thread was first.
  std::sort(pieces_.begin(), pieces_.end(), [](const Piece& a, const Piece& b) { return a.first < b.first; });
  Piece all{.first = 0};
  for (const Piece& one : pieces_) {
    all.count += one.count;
    all.squares += one.squares;
    all.difference += one.difference;
    all.largest = std::max(all.largest, one.largest);
  }
  pieces_ = {all};
}

std::optional<QuantError::Piece> QuantError::sum() const {
  const std::lock_guard lock(mutex_);
  return missing_ > 0 || pieces_.empty() ? std::nullopt : std::optional(pieces_.front());
}

std::optional<QuantError::Result> QuantError::result() const {
  const std::optional<Piece> all = sum();
  if (!all) return std::nullopt;
  return Result{all->largest, all->squares > 0 ? std::sqrt(all->difference / all->squares) : 0.0};
}

}  // namespace mu
