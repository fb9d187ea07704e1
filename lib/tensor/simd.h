// SPDX-License-Identifier: Apache-2.0
// Marks a function whose loops are compiled twice, for AVX2 and for the baseline, the better one chosen when
// the program starts. The source is the same, products and sums are never contracted or reordered, so both
// give the same bits. A macro, because an attribute can't be named otherwise; sanitizers can't run the
// code that chooses.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define MU_SIMD __attribute__((target_clones("avx2", "default")))
#else
#define MU_SIMD
#endif
