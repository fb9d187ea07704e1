// SPDX-License-Identifier: Apache-2.0
#include "lora/products.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "os/threads.h"

namespace mu {
namespace {

// Rows, or columns, of the large matrix in one call of the kernel. Each call copies the thin matrix into tiles
// again, which costs 1/512 of its arithmetic; a larger panel would leave threads without work (4096 rows are
// eight panels).
constexpr std::size_t kPanel = 512;

struct Kernel {
  std::string_view name;
  bool (*runs_here)();
  MuMultiply* multiply;
};

// libgcc asks the processor what it has when a program starts; in the portable build nobody does (tensor/cpu_model.cc).
#if defined(__x86_64__)
bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#endif

// The best first, with those that only other machines have.
constexpr Kernel kKernels[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, mu_multiply_avx512},
    {"avx2", has_avx2, mu_multiply_avx2},
#else
    {"avx512", [] { return false; }, nullptr},
    {"avx2", [] { return false; }, nullptr},
#endif
#if defined(__aarch64__)
    {"neon", [] { return true; }, mu_multiply_neon},
#else
    {"neon", [] { return false; }, nullptr},
#endif
    {"baseline", [] { return true; }, mu_multiply_baseline},
};

}  // namespace

Products::Products(std::string_view kernel) {
  for (const Kernel& candidate : kKernels) {
    if (kernel != "auto" && kernel != candidate.name) continue;
    if (!candidate.runs_here()) {
      if (kernel == "auto") continue;
      throw usage(fmt::format("this machine can't run --kernel {}", kernel));
    }
    name_ = candidate.name;
    multiply_ = candidate.multiply;
    return;
  }
  throw usage(
      fmt::format("--kernel takes auto, avx512, avx2, neon or baseline, not '{}'", escape_name(kernel)));
}

std::string_view Products::shared_name() {
#if defined(__x86_64__)
  return "avx2";
#elif defined(__aarch64__)
  return "neon";
#else
  return "baseline";
#endif
}

void Products::multiply(std::span<const float> a, std::size_t m, std::size_t n, std::span<const float> x,
                        std::size_t b, std::span<float> y, unsigned threads) const {
  parallel_for((m + kPanel - 1) / kPanel, threads, [&](std::size_t panel) {
    const std::size_t row = panel * kPanel, rows = std::min(kPanel, m - row);
    multiply_(a.data() + row * n, n, 1, rows, n, x.data(), b, y.data() + row * b);
  });
}

void Products::multiply_transposed(std::span<const float> a, std::size_t m, std::size_t n,
                                   std::span<const float> q, std::size_t b, std::span<float> z,
                                   unsigned threads) const {
  parallel_for((n + kPanel - 1) / kPanel, threads, [&](std::size_t panel) {
    const std::size_t column = panel * kPanel, columns = std::min(kPanel, n - column);
    multiply_(a.data() + column, 1, n, columns, m, q.data(), b, z.data() + column * b);
  });
}

}  // namespace mu
