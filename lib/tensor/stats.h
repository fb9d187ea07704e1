// SPDX-License-Identifier: Apache-2.0
// Statistics of a tensor in one pass. The tensor is cut at fixed places into blocks; each block is summed in
// f64 in a fixed order around its own mean, and blocks are merged in order (Chan, Golub, LeVeque 1979), so
// that neither the number of threads nor the vector width changes a digit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tensor/dtype.h"

namespace mu {

// Bytes of the pieces that a tensor is read in; a multiple of every element size and of the inner block.
inline constexpr std::size_t kStatsPiece = 1U << 20;

struct TensorStats {
  std::uint64_t count = 0;  // values; a complex element counts two
  std::uint64_t nan = 0, positive_infinity = 0, negative_infinity = 0;
  std::uint64_t zero = 0;  // -0 included
  std::uint64_t negative_zero = 0;
  std::uint64_t subnormal = 0;    // in the tensor's own dtype
  std::uint64_t not_boolean = 0;  // bytes of a BOOL tensor other than 0 and 1
  // Over the finite values; meaningless when there are none.
  std::uint64_t finite = 0;
  double min = 0, max = 0, mean = 0;
  double squares = 0;     // sum of squared distances from the mean
  bool fits_bf16 = true;  // of F32: no value would change in bf16
  // Finite values other than 0 by binary exponent: slot e + 128 counts 2^e <= |x| < 2^(e+1); what lies
  // outside is counted in the first and last slot.
  std::array<std::uint64_t, 256> exponents{};

  [[nodiscard]] double std() const;  // sample standard deviation (divisor n - 1), as torch.std
  [[nodiscard]] double absmax() const;
  [[nodiscard]] bool all_zero() const { return count > 0 && zero == count; }
  [[nodiscard]] bool constant() const { return count > 0 && finite == count && min == max; }
};

// The statistics of one piece, at most kStatsPiece bytes of whole elements. Throws kMalformed for dtypes that
// can't be decoded.
TensorStats piece_stats(Dtype dtype, std::span<const std::byte> piece);

// Adds the statistics of what follows. The order of calls is part of the result.
void merge_stats(TensorStats& total, const TensorStats& next);

// A line of `width` block characters. Each stands for one power of two: the last for the power of absmax, the
// first also for everything below; the height is the fraction of values. Empty when there is nothing to
// draw.
std::string draw_magnitudes(const TensorStats& stats, std::size_t width);

}  // namespace mu
