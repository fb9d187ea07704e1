// SPDX-License-Identifier: Apache-2.0
// Numbers on the way from stored to plain, in buffers of floats: read from a tensor as they are, and rounded in
// place to the type in which a reference computes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "weights/gather.h"

namespace mu {

// Bytes [at, at + size) of a source, valid until the same thread asks again.
std::span<const std::byte> read_bytes(const Sources& sources, std::size_t which, std::uint64_t at,
                                      std::size_t size);

// Fills `out` with elements [first, first + out.size()) of a source whose values floats hold exactly (fits_float).
void read_floats(const Sources& sources, std::size_t which, std::uint64_t first, std::span<float> out);

// The same of a U8 source that holds exponents: 2^(byte - 127), and infinity for 255 (E8M0, which has a type of its
// own, has NaN there).
void read_powers(const Sources& sources, std::size_t which, std::uint64_t first, std::span<float> out);

// Rounds each value to bf16 or f16, to nearest, ties to even; to f32: leaves them.
void round_floats(Dtype type, std::span<float> values);

}  // namespace mu
