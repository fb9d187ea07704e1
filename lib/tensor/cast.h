// SPDX-License-Identifier: Apache-2.0
// Tensors from one floating type to another, bit-equal with torch 2.13's Tensor.to (where torch's own NaN
// bits depend on the CPU: bf16 0x7FC0, f16 sign and 0x7E00, fp8 0x7F with sign). f64 goes through f32, as
// torch does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace mu {

// What a cast did to values, beyond rounding.
struct CastReport {
  std::uint64_t overflowed = 0;   // finite values that became infinite or NaN
  std::uint64_t clipped = 0;      // values that became the largest finite one (E4M3, infinities included)
  std::uint64_t underflowed = 0;  // values that became zero

  void add(const CastReport& other) {
    overflowed += other.overflowed;
    clipped += other.clipped;
    underflowed += other.underflowed;
  }
};

// Possible from any floating type but F4 and F6 (E8M0 can be read) to f64, f32, f16, bf16 and the 8-bit types.
bool can_cast(Dtype from, Dtype to);

// Casts whole elements; `out` has room for as many of `to`. The buffers must not overlap.
void cast(Dtype from, Dtype to, std::span<const std::byte> in, std::span<std::byte> out, CastReport& report);

}  // namespace mu
