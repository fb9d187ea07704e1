// SPDX-License-Identifier: Apache-2.0
// The functions of kernel.cc, one set for each instruction set. All matrices are row-major; rows of `a` lie
// `stride` apart, the others are dense. No function throws but for want of memory.
#pragma once

#include <cstddef>

// y[m, b] = a[m, n] x[n, b]
using MuMultiply = void(const float* a, std::size_t stride, std::size_t m, std::size_t n, const float* x,
                        std::size_t b, float* y);
// z[n, b] = a[m, n]^T q[m, b]
using MuMultiplyTransposed = void(const float* a, std::size_t stride, std::size_t m, std::size_t n,
                                  const float* q, std::size_t b, float* z);

#define MU_DECLARE_KERNEL(SUFFIX)             \
  extern "C" void mu_prepare_##SUFFIX();      \
  extern "C" MuMultiply mu_multiply_##SUFFIX; \
  extern "C" MuMultiplyTransposed mu_multiply_transposed_##SUFFIX;
MU_DECLARE_KERNEL(baseline)
MU_DECLARE_KERNEL(avx2)
MU_DECLARE_KERNEL(avx512)

#define MU_KERNEL_JOIN(NAME, SUFFIX) NAME##_##SUFFIX
#define MU_KERNEL_NAMED(NAME, SUFFIX) MU_KERNEL_JOIN(NAME, SUFFIX)
#define MU_KERNEL(NAME) MU_KERNEL_NAMED(NAME, MU_KERNEL_SUFFIX)
