// SPDX-License-Identifier: Apache-2.0
// The function of kernel.cc, once for each kernel.
#pragma once

#include <cstddef>

// y[m, b] = a[m, n] x[n, b]. a[i, k] is at i * row_stride + k * column_stride, so swapping the strides gives
// the transposed matrix; x and y are row-major and dense. Sums are in fp32, and their order is the same in all
// kernels.
using MuMultiply = void(const float* a, std::size_t row_stride, std::size_t column_stride, std::size_t m,
                        std::size_t n, const float* x, std::size_t b, float* y);

extern "C" MuMultiply mu_multiply_baseline;
extern "C" MuMultiply mu_multiply_avx2;
extern "C" MuMultiply mu_multiply_avx512;
extern "C" MuMultiply mu_multiply_neon;

#define MU_KERNEL_JOIN(NAME, SUFFIX) NAME##_##SUFFIX
#define MU_KERNEL_NAMED(NAME, SUFFIX) MU_KERNEL_JOIN(NAME, SUFFIX)
#define MU_KERNEL(NAME) MU_KERNEL_NAMED(NAME, MU_KERNEL_SUFFIX)
