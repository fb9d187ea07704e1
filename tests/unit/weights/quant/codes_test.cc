// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/codes.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace mu;

TEST_CASE("codes: values of every width lie one after the other, the lowest bits first") {
  std::mt19937 random(1);
  for (unsigned bits = 1; bits <= 8; ++bits) {
    CAPTURE(bits);
    std::vector<std::uint8_t> expected(77);
    std::vector<std::byte> packed((expected.size() * bits + 7) / 8 + kCodeSlack);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = static_cast<std::uint8_t>(random() & ((1U << bits) - 1));
      for (unsigned b = 0; b < bits; ++b) {
        const std::size_t at = i * bits + b;
        if ((expected[i] >> b & 1) != 0) packed[at / 8] |= static_cast<std::byte>(1U << at % 8);
      }
    }
    std::vector<std::uint8_t> codes(expected.size() + kCodeSlack);
    unpack_codes(bits, packed.data(), expected.size(), codes.data());
    codes.resize(expected.size());
    CHECK(codes == expected);
  }
}

TEST_CASE("codes: groups of columns, from the middle of one, and columns in any order") {
  const std::vector<std::uint8_t> codes = {0, 1, 2, 3, 15};
  const std::vector<float> scales = {1, 0.5F, -2}, zeros = {8, 1, 0};
  std::vector<float> out(codes.size());
  scale_codes(codes.data(), {2, 3, scales.data(), zeros.data()}, out);
  CHECK(out == std::vector<float>{-8, 0, 0.5F, 1, -30});
  const std::vector<std::uint32_t> group_of = {2, 1, 0, 0, 1};
  scale_codes(codes.data(), group_of.data(), scales.data(), zeros.data(), out);
  CHECK(out == std::vector<float>{-0.0F, 0, -6, -5, 7});
}
