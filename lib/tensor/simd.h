// SPDX-License-Identifier: Apache-2.0
// Marks a function whose loops are compiled twice, for AVX2 and for the baseline, the better one chosen when
// the program starts. The source is the same, products and sums are never contracted or reordered, so both
// give the same bits. A macro, because an attribute can't be named otherwise; sanitizers can't run the
// code that chooses. The baseline of aarch64 has NEON, and nothing to choose.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MU_SANITIZED 1
#elif defined(__has_feature)
#define MU_SANITIZED __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#else
#define MU_SANITIZED 0
#endif

#if defined(__x86_64__) && !(MU_SANITIZED)
#define MU_SIMD __attribute__((target_clones("avx2", "default")))
#else
#define MU_SIMD
#endif
