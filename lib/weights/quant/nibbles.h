// SPDX-License-Identifier: Apache-2.0
// Values of four bits, two in a byte: what a nibble means is a table of 16 values, and runs of values share a scale.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "weights/gather.h"

namespace mu {

enum class NibbleOrder : std::uint8_t { kLowFirst, kHighFirst };

class NibbleTable {
 public:
  constexpr NibbleTable(const std::array<float, 16>& values, NibbleOrder order) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const float low = values[byte & 15U], high = values[byte >> 4U];
      pairs_[byte] = order == NibbleOrder::kLowFirst ? Pair{low, high} : Pair{high, low};
    }
  }

  // Fills `out` with elements [first, first + out.size()), each times the scale of its block. The element is counted
  // from the start of the tensor; `packed` begins with the byte that holds `first`, `scales` with the block of `first`.
  void read(std::span<const std::byte> packed, std::uint64_t first, std::span<const float> scales,
            std::uint64_t block, std::span<float> out) const;

 private:
  using Pair = std::array<float, 2>;
  void read_run(const std::byte* packed, bool second, float scale, std::span<float> out) const;

  std::array<Pair, 256>
      pairs_{};  // of each byte: one load for two values, which is faster than looking up each
};

// Fills `out` with elements [first, first + out.size()) of a source of bytes that hold two each. `scales` begins with
// the block of `first`.
void read_nibbles(const Sources& sources, std::size_t which, const NibbleTable& table, std::uint64_t first,
                  std::span<const float> scales, std::uint64_t block, std::span<float> out);

}  // namespace mu
