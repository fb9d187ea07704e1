// SPDX-License-Identifier: Apache-2.0
// The product of a large matrix with a thin one, in tiles whose sums stay in registers (Goto and van de
// Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). The large matrix is read in place, once
// for each tile of the thin one. This file is compiled once for each kernel. Only this one function leaves it,
// and no inline function from elsewhere may enter it, except intrinsics: of several equal names the linker
// would keep one, and run it on machines that can't.
//
// Each element of `y` is summed over k in the same order by every kernel. Whether a product is rounded before
// it is added is written out below and not left to the compiler (-ffp-contract=off), so that there are two
// results and no more: that of baseline, and that of the kernels that fuse.
#include "lora/kernel.h"

#include <cstring>

#if defined(__FMA__)
#include <immintrin.h>
#elif defined(MU_NEON)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr std::size_t kLanes = 16, kVectors = 2, kRows = 8;
#elif defined(__AVX2__)
constexpr std::size_t kLanes = 8, kVectors = 2, kRows = 6;
#elif defined(__aarch64__)
constexpr std::size_t kLanes = 4, kVectors = 4, kRows = 6;
#else
constexpr std::size_t kLanes = 4, kVectors = 2, kRows = 6;
#endif
constexpr std::size_t kWidth = kVectors * kLanes;  // columns of `x` handled together
// The number of terms that are summed before the sum is added to `y`. If they are a stride apart, which may
// be a large power of two, a cache has room for only a few of them.
constexpr std::size_t kDepth = 256, kFarDepth = 64;

using Vector [[gnu::vector_size(kLanes * sizeof(float))]] = float;

// sum + factor * values
Vector add_product(Vector sum, float factor, Vector values) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(_mm512_set1_ps(factor), values, sum);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(_mm256_set1_ps(factor), values, sum);
#elif defined(MU_NEON)
  return vfmaq_n_f32(sum, values, factor);
#else
  return sum + factor * values;
#endif
}

// y[Rows, width] += a[Rows, depth] x[depth, kWidth]; uses the first `Vectors` vectors of each row of x.
template <std::size_t Rows, std::size_t Vectors>
void add_tile(const float* a, std::size_t row_stride, std::size_t column_stride, std::size_t depth,
              const float* x, std::size_t width, std::size_t b, float* y) {
  Vector sums[Rows][Vectors] = {};
  for (std::size_t k = 0; k < depth; ++k) {
    Vector values[Vectors];
    std::memcpy(values, x + k * kWidth, sizeof values);
    // Prefetches terms of the next call; past the end of the matrix it does nothing.
    if (column_stride != 1) __builtin_prefetch(a + (k + kFarDepth) * column_stride);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < Rows; ++r) {
      const float factor = a[r * row_stride + k * column_stride];
#pragma GCC unroll 4
      for (std::size_t v = 0; v < Vectors; ++v) sums[r][v] = add_product(sums[r][v], factor, values[v]);
    }
  }
  for (std::size_t r = 0; r < Rows; ++r) {
    if (width == Vectors * kLanes) {
      Vector row[Vectors];
      std::memcpy(row, y + r * b, sizeof row);
      for (std::size_t v = 0; v < Vectors; ++v) row[v] += sums[r][v];
      std::memcpy(y + r * b, row, sizeof row);
    } else {
      float row[Vectors * kLanes];
      std::memcpy(row, sums[r], sizeof row);
      for (std::size_t j = 0; j < width; ++j) y[r * b + j] += row[j];
    }
  }
}

template <std::size_t Vectors>
void add_tiles(const float* a, std::size_t row_stride, std::size_t column_stride, std::size_t m,
               std::size_t depth, const float* x, std::size_t width, std::size_t b, float* y) {
  std::size_t r = 0;
  for (; r + kRows <= m; r += kRows)
    add_tile<kRows, Vectors>(a + r * row_stride, row_stride, column_stride, depth, x, width, b, y + r * b);
  for (; r < m; ++r)
    add_tile<1, Vectors>(a + r * row_stride, row_stride, column_stride, depth, x, width, b, y + r * b);
}

}  // namespace

extern "C" void MU_KERNEL(mu_multiply)(const float* a, std::size_t row_stride, std::size_t column_stride,
                                       std::size_t m, std::size_t n, const float* x, std::size_t b,
                                       float* y) {
  alignas(64) float tile[kDepth * kWidth] = {};
  std::memset(y, 0, m * b * sizeof(float));
  const std::size_t most = column_stride == 1 ? kDepth : kFarDepth;
  for (std::size_t k = 0; k < n; k += most) {
    const std::size_t depth = n - k < most ? n - k : most;
    for (std::size_t j = 0; j < b; j += kWidth) {
      const std::size_t width = b - j < kWidth ? b - j : kWidth;
      for (std::size_t i = 0; i < depth; ++i)
        std::memcpy(tile + i * kWidth, x + (k + i) * b + j, width * sizeof(float));
      const float* const block = a + k * column_stride;
      if (width > kWidth / 2)
        add_tiles<kVectors>(block, row_stride, column_stride, m, depth, tile, width, b, y + j);
      else
        add_tiles<kVectors / 2>(block, row_stride, column_stride, m, depth, tile, width, b, y + j);
    }
  }
}
