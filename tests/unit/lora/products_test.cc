// SPDX-License-Identifier: Apache-2.0
#include "lora/products.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>

#include "base/error.h"

using namespace mu;

namespace {

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// The largest difference from sums in fp64, in units of what fp32 rounding of `terms` terms may add up to.
double worst(std::span<const float> y, std::size_t rows, std::size_t terms, std::size_t b, const auto& a_at,
             std::span<const float> x) {
  double worst = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < b; ++j) {
      double sum = 0, size = 0;
      for (std::size_t k = 0; k < terms; ++k) {
        const double term = static_cast<double>(a_at(i, k)) * static_cast<double>(x[k * b + j]);
        sum += term;
        size += std::abs(term);
      }
      const double bound = static_cast<double>(terms) * 0x1p-24 * size;
      worst = std::max(worst, std::abs(static_cast<double>(y[i * b + j]) - sum) / bound);
    }
  }
  return worst;
}

// The kernels that this machine can run.
std::vector<Products> kernels() {
  std::vector<Products> kernels = {Products("baseline")};
  for (const std::string_view kernel : {"avx2", "avx512"}) {
    try {
      kernels.emplace_back(kernel);
    } catch (const Error&) {
    }
  }
  return kernels;
}

}  // namespace

TEST_CASE(
    "products are those of fp64 to fp32's rounding, by every kernel, in every shape, either way round") {
  struct Shape {
    std::size_t m, n, b;
  };
  for (const Products& products : kernels()) {
    for (const auto& [m, n, b] :
         {Shape{1, 1, 1}, {7, 3, 5}, {3, 700, 2}, {513, 257, 33}, {600, 64, 16}, {40, 513, 130}}) {
      CAPTURE(std::string(products.name()));
      CAPTURE(m);
      CAPTURE(n);
      CAPTURE(b);
      const std::vector<float> a = random_values(m * n, 1), x = random_values(n * b, 2),
                               q = random_values(m * b, 3);
      const auto as_it_is = [&](std::size_t i, std::size_t k) { return a[i * n + k]; };
      const auto turned = [&](std::size_t i, std::size_t k) { return a[k * n + i]; };
      // Earlier contents must not count.
      std::vector<float> y(m * b, 1e9F), z(n * b, 1e9F);
      products.multiply(a, m, n, x, b, y, 2);
      CHECK(worst(y, m, n, b, as_it_is, x) <= 1);
      products.multiply_transposed(a, m, n, q, b, z, 2);
      CHECK(worst(z, n, m, b, turned, q) <= 1);
    }
  }
}
