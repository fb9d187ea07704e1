// SPDX-License-Identifier: Apache-2.0
// Whole numbers of 1 to 8 bits, packed one after the other, and the values that they stand for: (q - zero) * scale, of
// one scale and zero point for each group of columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mu {

inline constexpr std::size_t kCodeSlack = 8;  // bytes and codes that may be touched beyond the last one

// Value j of `packed` has bits [j * bits, (j + 1) * bits), the lowest bit of the first byte being the first: as
// little-endian words of any width hold them. Both buffers have kCodeSlack to spare.
void unpack_codes(unsigned bits, const std::byte* packed, std::size_t count, std::uint8_t* codes);

// The four bits of each word from bit `shift` on.
void nibbles_of_words(const std::byte* words, std::size_t count, unsigned shift, std::uint8_t* codes);

// Columns [first, first + out.size()) of a row. Column j has scale and zero point j / group, counted from the group
// that `first` is in.
struct CodeGroups {
  std::uint64_t first = 0, group = 0;
  const float* scales = nullptr;
  const float* zeros = nullptr;
};
void scale_codes(const std::uint8_t* codes, const CodeGroups& groups, std::span<float> out);

// The same where each column says which group it is in.
void scale_codes(const std::uint8_t* codes, const std::uint32_t* group_of, const float* scales,
                 const float* zeros, std::span<float> out);

}  // namespace mu
