// SPDX-License-Identifier: Apache-2.0
// How far apart two tensors of the same shape are, after widening to f64, whatever their dtypes. Merged in
// order like statistics, with the same promise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace mu {

struct Tolerance {
  double relative = 0, absolute = 0;  // torch.allclose: |a - b| <= absolute + relative * |b|
};

struct Comparison {
  std::uint64_t count = 0;
  std::uint64_t differing = 0;  // values that are not equal; two NaN are equal, and so are 0 and -0
  std::uint64_t outside =
      0;               // values beyond the tolerance; a NaN or an infinity against anything else always is
  double max_abs = 0;  // of the differences; infinite when an infinity meets something else
  double sum_abs = 0, sum_squares = 0;  // of the finite differences
  double dot = 0, a_squares = 0, b_squares = 0;

  [[nodiscard]] double mean_abs() const;
  [[nodiscard]] double relative_l2() const;  // |a - b| / |b|; 0 when both are 0
  [[nodiscard]] double cosine() const;       // 1 when both are 0
};

// Compares two pieces that hold the same number of values.
Comparison compare_pieces(Dtype a_dtype, std::span<const std::byte> a, Dtype b_dtype,
                          std::span<const std::byte> b, Tolerance tolerance);
void merge_comparison(Comparison& total, const Comparison& next);

}  // namespace mu
