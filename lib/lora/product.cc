// SPDX-License-Identifier: Apache-2.0
#include "lora/product.h"

#include <algorithm>

#include "tensor/simd.h"

namespace mu {
namespace {

constexpr std::size_t kRows = 4;       // use each value read from `right`
constexpr std::size_t kColumns = 256;  // the sums of kRows rows (4 KiB) stay in the first cache

MU_SIMD void add_block(const Product& p, std::size_t row, std::size_t column, std::size_t width) {
  alignas(64) float sums[kRows][kColumns] = {};
  const float* left = p.left + row * p.k;
  for (std::size_t k = 0; k < p.k; ++k) {
    const float* right = p.right + k * p.stride + column;
    const float a = left[k], b = left[p.k + k], c = left[2 * p.k + k], d = left[3 * p.k + k];
    for (std::size_t j = 0; j < width; ++j) {
      sums[0][j] += a * right[j];
      sums[1][j] += b * right[j];
      sums[2][j] += c * right[j];
      sums[3][j] += d * right[j];
    }
  }
  for (std::size_t i = 0; i < kRows; ++i) {
    float* values = p.values + (row + i) * p.n + column;
    for (std::size_t j = 0; j < width; ++j) values[j] += p.scale * sums[i][j];
  }
}

MU_SIMD void add_row(const Product& p, std::size_t row, std::size_t column, std::size_t width) {
  alignas(64) float sums[kColumns] = {};
  const float* left = p.left + row * p.k;
  for (std::size_t k = 0; k < p.k; ++k) {
    const float* right = p.right + k * p.stride + column;
    for (std::size_t j = 0; j < width; ++j) sums[j] += left[k] * right[j];
  }
  float* values = p.values + row * p.n + column;
  for (std::size_t j = 0; j < width; ++j) values[j] += p.scale * sums[j];
}

}  // namespace

void add_product(const Product& p) {
  for (std::size_t column = 0; column < p.n; column += kColumns) {
    const std::size_t width = std::min(kColumns, p.n - column);
    std::size_t row = 0;
    for (; row + kRows <= p.m; row += kRows) add_block(p, row, column, width);
    for (; row < p.m; ++row) add_row(p, row, column, width);
  }
}

}  // namespace mu
