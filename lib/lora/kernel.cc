// SPDX-License-Identifier: Apache-2.0
// Products of a large matrix with thin ones, by Eigen. Compiled once for each instruction set, with Eigen's
// namespace renamed (CMakeLists.txt), so that no two of them share code: the linker would keep one of two
// equal names, and run it on machines that can't. Nothing but these functions leaves this file.
#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#include <Eigen/Core>

#include "lora/kernel.h"

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using In = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;
using Out = Eigen::Map<Matrix>;

Eigen::Index index(std::size_t n) {
  return static_cast<Eigen::Index>(n);
}

}  // namespace

// Eigen cuts its work by the caches it finds: these are everybody's, so that sums are the same everywhere.
extern "C" void MU_KERNEL(mu_prepare)() {
  Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 4 << 20);
}

extern "C" void MU_KERNEL(mu_multiply)(const float* a, std::size_t stride, std::size_t m, std::size_t n,
                                       const float* x, std::size_t b, float* y) {
  Out(y, index(m), index(b)).noalias() = In(a, index(m), index(n), Eigen::OuterStride<>(index(stride))) *
                                         In(x, index(n), index(b), Eigen::OuterStride<>(index(b)));
}

extern "C" void MU_KERNEL(mu_multiply_transposed)(const float* a, std::size_t stride, std::size_t m,
                                                  std::size_t n, const float* q, std::size_t b, float* z) {
  Out(z, index(n), index(b)).noalias() =
      In(a, index(m), index(n), Eigen::OuterStride<>(index(stride))).transpose() *
      In(q, index(m), index(b), Eigen::OuterStride<>(index(b)));
}
