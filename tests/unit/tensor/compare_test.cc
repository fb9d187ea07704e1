// SPDX-License-Identifier: Apache-2.0
#include "tensor/compare.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace mu;

namespace {

Comparison compare(const std::vector<float>& a, const std::vector<float>& b, Tolerance tolerance = {}) {
  return compare_pieces(Dtype::kF32, std::as_bytes(std::span(a)), Dtype::kF32, std::as_bytes(std::span(b)),
                        tolerance);
}

}  // namespace

TEST_CASE("compare: figures of a small example") {
  const Comparison c = compare({1, 2, 3}, {1, 2.5F, 1});
  CHECK(c.count == 3);
  CHECK(c.differing == 2);
  CHECK(c.max_abs == 2);
  CHECK(c.mean_abs() == doctest::Approx(2.5 / 3));
  CHECK(c.relative_l2() == doctest::Approx(std::sqrt((0.25 + 4) / (1 + 6.25 + 1))));
  CHECK(c.cosine() == doctest::Approx((1 + 5 + 3) / (std::sqrt(14.0) * std::sqrt(8.25))));
}

TEST_CASE("compare: tolerance as torch.allclose, relative to the second") {
  CHECK(compare({1.1F}, {1}, {0.11, 0}).outside == 0);
  CHECK(compare({1.1F}, {1}, {0.09, 0}).outside == 1);
  CHECK(compare({0.1F}, {0}, {10, 0}).outside == 1);
  CHECK(compare({0.1F}, {0}, {0, 0.11}).outside == 0);
}

TEST_CASE("compare: NaN and infinities") {
  const float nan = std::nanf("");
  CHECK(compare({nan}, {nan}).differing == 0);
  CHECK(compare({nan}, {1}, {1, 1}).outside == 1);
  CHECK(std::isinf(compare({nan}, {1}).max_abs));
  CHECK(compare({HUGE_VALF}, {HUGE_VALF}).differing == 0);
  CHECK(compare({HUGE_VALF}, {-HUGE_VALF}, {1, 1}).outside == 1);
  CHECK(compare({0.0F}, {-0.0F}).differing == 0);
}

TEST_CASE("compare: across dtypes after widening") {
  const std::vector<float> a(5000, 1.5F);
  const std::vector<std::uint16_t> b(5000, 0x3FC0);
  const Comparison c =
      compare_pieces(Dtype::kF32, std::as_bytes(std::span(a)), Dtype::kBF16, std::as_bytes(std::span(b)), {});
  CHECK(c.count == 5000);
  CHECK(c.differing == 0);
  CHECK(c.cosine() == doctest::Approx(1));
}
