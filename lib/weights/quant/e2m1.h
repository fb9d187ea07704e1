// SPDX-License-Identifier: Apache-2.0
// E2M1, the four-bit float of MXFP4 and NVFP4: a sign, two bits of exponent, one of mantissa. Low nibble first; there is
// a -0, no infinity and no NaN.
#pragma once

#include <bit>
#include <cstdint>

#include "weights/quant/nibbles.h"

namespace mu {

inline constexpr NibbleTable kE2m1({0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F,  //
                                    -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F},
                                   NibbleOrder::kLowFirst);

// One value as a float, by arithmetic that compilers make vector code of.
constexpr float e2m1_to_f32(std::uint32_t nibble) {
  const std::uint32_t magnitude = nibble & 7U, half = 0x3F000000U;
  // 0.5 is the one subnormal number; all others move their exponent.
  const std::uint32_t bits = magnitude < 2 ? magnitude * half : (magnitude << 22U) + half;
  return std::bit_cast<float>(bits | (nibble & 8U) << 28U);
}

}  // namespace mu
