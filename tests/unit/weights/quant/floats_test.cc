// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/floats.h"

#include <doctest/doctest.h>

#include <bit>
#include <vector>

#include "tensor/convert.h"

using namespace mu;

TEST_CASE("floats: rounded in place as by a cast to the type and back") {
  for (std::uint32_t bits = 0; bits < 0xFF000000U;) {
    std::vector<float> bf16, f16, f32;
    std::vector<std::uint32_t> in;
    for (int i = 0; i < 4096 && bits < 0xFF000000U; ++i, bits += 65521 / 3) {
      in.push_back(bits);
      f32.push_back(std::bit_cast<float>(bits));
    }
    bf16 = f16 = f32;
    round_floats(Dtype::kBF16, bf16);
    round_floats(Dtype::kF16, f16);
    round_floats(Dtype::kF32, f32);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      wrong += std::bit_cast<std::uint32_t>(bf16[i]) == bf16_to_f32(f32_to_bf16(in[i])) ? 0 : 1;
      wrong += std::bit_cast<std::uint32_t>(f16[i]) == f16_to_f32(f32_to_f16(in[i])) ? 0 : 1;
      wrong += std::bit_cast<std::uint32_t>(f32[i]) == in[i] ? 0 : 1;
    }
    CHECK(wrong == 0);
  }
}
