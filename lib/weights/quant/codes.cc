// SPDX-License-Identifier: Apache-2.0
// Eight values take as many bytes as one has bits. These become eight bytes in three steps, each of which moves the
// upper half of every field away from the lower one: shifts and masks alone, whatever the width.
//
// Differences of codes are whole numbers below 256, which floats (and the 16-bit types) hold exactly; so is the
// product of such a number with a 16-bit scale. A product with an f32 scale is rounded once.
#include "weights/quant/codes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "tensor/simd.h"

namespace mu {
namespace {

constexpr std::uint64_t low_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

// `field` with its lower and upper `kBits` moved to the beginning of halves of `half` bits, in each lane at once.
template <unsigned kBits, unsigned kHalf>
constexpr std::uint64_t spread(std::uint64_t fields) {
  constexpr std::uint64_t kMask = [] {
    std::uint64_t mask = 0;
    for (unsigned at = 0; at < 64; at += 2 * kHalf) mask |= low_bits(kBits) << at;
    return mask;
  }();
  return (fields & kMask) | (fields >> kBits & kMask) << kHalf;
}

template <unsigned kBits>
inline void unpack(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  const std::size_t blocks = (count + 7) / 8;
  for (std::size_t i = 0; i < blocks; ++i) {
    const auto eight = load_le<std::uint64_t>(packed + i * kBits);
    const std::uint64_t bytes = spread<kBits, 8>(spread<2 * kBits, 16>(spread<4 * kBits, 32>(eight)));
    std::memcpy(codes + 8 * i, &bytes, sizeof(bytes));
  }
}

using Unpack = void (*)(const std::byte* packed, std::size_t count, std::uint8_t* codes);

MU_SIMD void unpack1(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  unpack<1>(packed, count, codes);
}
MU_SIMD void unpack2(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  unpack<2>(packed, count, codes);
}
MU_SIMD void unpack3(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  unpack<3>(packed, count, codes);
}
MU_SIMD void unpack4(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  unpack<4>(packed, count, codes);
}
MU_SIMD void unpack5(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  unpack<5>(packed, count, codes);
}
MU_SIMD void unpack6(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  unpack<6>(packed, count, codes);
}
MU_SIMD void unpack7(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  unpack<7>(packed, count, codes);
}
void unpack8(const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  std::memcpy(codes, packed, count);
}

MU_SIMD void take_nibbles(const std::byte* words, std::size_t count, unsigned shift, std::uint8_t* codes) {
  for (std::size_t i = 0; i < count; ++i)
    codes[i] = static_cast<std::uint8_t>(load_le<std::uint32_t>(words + 4 * i) >> shift & 15U);
}

MU_SIMD void scale_groups(const std::uint8_t* codes, const CodeGroups& groups, float* out,
                          std::size_t count) {
  std::size_t in_group = groups.group - groups.first % groups.group;
  for (std::size_t at = 0, g = 0; at < count; at += in_group, in_group = groups.group, ++g) {
    in_group = std::min<std::size_t>(in_group, count - at);
    const float scale = groups.scales[g], zero = groups.zeros[g];
    for (std::size_t i = at; i < at + in_group; ++i) out[i] = (static_cast<float>(codes[i]) - zero) * scale;
  }
}

MU_SIMD void scale_each(const std::uint8_t* codes, const std::uint32_t* group_of, const float* scales,
                        const float* zeros, float* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t g = group_of[i];
    out[i] = (static_cast<float>(codes[i]) - zeros[g]) * scales[g];
  }
}

}  // namespace

void unpack_codes(unsigned bits, const std::byte* packed, std::size_t count, std::uint8_t* codes) {
  constexpr std::array<Unpack, 8> kUnpack = {unpack1, unpack2, unpack3, unpack4,
                                             unpack5, unpack6, unpack7, unpack8};
  kUnpack[bits - 1](packed, count, codes);
}

void nibbles_of_words(const std::byte* words, std::size_t count, unsigned shift, std::uint8_t* codes) {
  take_nibbles(words, count, shift, codes);
}

void scale_codes(const std::uint8_t* codes, const CodeGroups& groups, std::span<float> out) {
  scale_groups(codes, groups, out.data(), out.size());
}

void scale_codes(const std::uint8_t* codes, const std::uint32_t* group_of, const float* scales,
                 const float* zeros, std::span<float> out) {
  scale_each(codes, group_of, scales, zeros, out.data(), out.size());
}

}  // namespace mu
