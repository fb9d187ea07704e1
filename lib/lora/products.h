// SPDX-License-Identifier: Apache-2.0
// Products with a large matrix, by the kernel that fits this machine or the one that was asked for. Work is
// cut at fixed places, so any number of threads gives the same bits. Kernels that fuse products with sums
// (avx512, avx2, neon) agree in every bit; baseline, which every machine has, differs in the last digits.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "lora/kernel.h"

namespace mu {

class Products {
 public:
  // `kernel`: "auto", "avx512", "avx2", "neon" or "baseline". Throws kUsage for another name, and for a kernel that
  // this machine can't run.
  explicit Products(std::string_view kernel);

  [[nodiscard]] std::string_view name() const { return name_; }

  // The kernel for work that several machines share: one that nearly all of this architecture have.
  static std::string_view shared_name();

  // y[m, b] = a[m, n] x[n, b], all row-major and dense.
  void multiply(std::span<const float> a, std::size_t m, std::size_t n, std::span<const float> x,
                std::size_t b, std::span<float> y, unsigned threads) const;
  // z[n, b] = a[m, n]^T q[m, b]
  void multiply_transposed(std::span<const float> a, std::size_t m, std::size_t n, std::span<const float> q,
                           std::size_t b, std::span<float> z, unsigned threads) const;

 private:
  std::string_view name_;
  MuMultiply* multiply_;
};

}  // namespace mu
