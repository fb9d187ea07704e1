// SPDX-License-Identifier: Apache-2.0
// The types of weights that can be quantised, as torch computes with them: each step in float, then rounded to the
// type. For loops that the compiler turns into vector code, so that the type is known when they are compiled.
#pragma once

#include <bit>
#include <cstdint>

#include "tensor/convert.h"
#include "tensor/dtype.h"

namespace mu {

struct RoundedBF16 {
  static constexpr float kEpsilon = 0x1p-7F, kTiny = 0x1p-126F;
  static float round(float x) {
    return std::bit_cast<float>(bf16_to_f32(f32_to_bf16(std::bit_cast<std::uint32_t>(x))));
  }
};

struct RoundedF16 {
  static constexpr float kEpsilon = 0x1p-10F, kTiny = 0x1p-14F;
  static float round(float x) { return std::bit_cast<float>(round_to_f16(std::bit_cast<std::uint32_t>(x))); }
};

struct RoundedF32 {
  static constexpr float kEpsilon = 0x1p-23F, kTiny = 0x1p-126F;
  static float round(float x) { return x; }
};

// Calls `use` with one of these.
template <typename Use>
auto with_rounding(Dtype dtype, const Use& use) {
  if (dtype == Dtype::kBF16) return use(RoundedBF16());
  if (dtype == Dtype::kF16) return use(RoundedF16());
  return use(RoundedF32());
}

}  // namespace mu
