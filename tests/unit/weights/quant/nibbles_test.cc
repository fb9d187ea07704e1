// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/nibbles.h"

#include <doctest/doctest.h>

#include <bit>
#include <random>
#include <vector>

#include "weights/quant/e2m1.h"

using namespace mu;

namespace {

std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

}  // namespace

TEST_CASE("nibbles: E2M1, low nibble first, with a -0") {
  const std::array<float, 8> magnitudes = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  for (unsigned code = 0; code < 16; ++code) {
    const float expected = code < 8 ? magnitudes[code] : -magnitudes[code - 8];
    const std::byte byte{static_cast<std::uint8_t>(code | 0x50U)};
    std::array<float, 2> values{};
    kE2m1.read(std::span(&byte, 1), 0, std::array{1.0F}, 2, values);
    CHECK(bits_of(values[0]) == bits_of(expected));
    CHECK(values[1] == 3.0F);
    CHECK(bits_of(e2m1_to_f32(code)) == bits_of(expected));
  }
}

TEST_CASE("nibbles: any stretch of any blocks, in both orders") {
  std::mt19937 random(5);
  std::array<float, 16> map{};
  for (float& value : map) value = static_cast<float>(random() % 1000) - 500.0F;
  for (int round = 0; round < 200; ++round) {
    const std::size_t count = 1 + random() % 300;
    const std::uint64_t block = 1 + random() % 70;
    std::vector<std::byte> packed((count + 1) / 2);
    for (std::byte& byte : packed) byte = static_cast<std::byte>(random());
    std::vector<float> scales(count / block + 1);
    for (float& scale : scales) scale = static_cast<float>(random() % 64);
    const std::size_t first = random() % count, many = random() % (count - first) + 1;
    for (const NibbleOrder order : {NibbleOrder::kLowFirst, NibbleOrder::kHighFirst}) {
      std::vector<float> out(many);
      NibbleTable(map, order)
          .read(std::span(packed).subspan(first / 2), first, std::span(scales).subspan(first / block), block,
                out);
      for (std::size_t i = 0; i < many; ++i) {
        const std::size_t at = first + i;
        const bool low = (at % 2 == 0) == (order == NibbleOrder::kLowFirst);
        const auto byte = std::to_integer<unsigned>(packed[at / 2]);
        REQUIRE(out[i] == map[low ? byte & 15U : byte >> 4U] * scales[at / block]);
      }
    }
  }
}
