// SPDX-License-Identifier: Apache-2.0
// Elements of any dtype as numbers that a CPU can compute with. C64 gives two values per element (real,
// imaginary), F4 two per byte, the low half first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace mu {

// False only for the F6 types: the format does not fix how their bits are packed.
bool can_decode(Dtype dtype);

// True when float holds every value of the dtype exactly.
bool fits_float(Dtype dtype);

// How many values that many bytes hold.
std::size_t value_count(Dtype dtype, std::size_t bytes);

// Fills `out`, value_count(dtype, in.size()) long. For float, fits_float(dtype) must hold; double rounds
// 64-bit integers to nearest.
void decode(Dtype dtype, std::span<const std::byte> in, std::span<float> out);
void decode(Dtype dtype, std::span<const std::byte> in, std::span<double> out);

}  // namespace mu
