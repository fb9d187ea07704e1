// SPDX-License-Identifier: Apache-2.0
// One number from one floating format to another, as bits: the recipes of torch's headers
// (torch/headeronly/util), free of branches where they sit in hot loops. Rounding is to nearest, ties to
// even; strict IEEE arithmetic is assumed (no fast-math, no flush to zero).
#pragma once

#include <bit>
#include <cstdint>

namespace mu {

inline std::uint16_t f32_to_bf16(std::uint32_t u) {
  const std::uint32_t rounded = (u + 0x7FFFU + ((u >> 16) & 1U)) >> 16;
  return static_cast<std::uint16_t>((u & 0x7FFFFFFFU) > 0x7F800000U ? 0x7FC0U : rounded);
}

inline std::uint32_t bf16_to_f32(std::uint16_t h) {
  return std::uint32_t{h} << 16;
}

inline std::uint16_t f32_to_f16(std::uint32_t u) {
  const std::uint32_t a = u & 0x7FFFFFFFU;
  const std::uint32_t sign = (u >> 16) & 0x8000U;
  // Below 2^-14: adding 0.5 shifts the value into the place of a subnormal and rounds on the way.
  const std::uint32_t tiny = std::bit_cast<std::uint32_t>(std::bit_cast<float>(a) + 0.5F) - 0x3F000000U;
  const std::uint32_t normal = (a - 0x38000000U + 0xFFFU + ((a >> 13) & 1U)) >> 13;
  std::uint32_t result = a < 0x38800000U ? tiny : normal;
  result = a >= 0x477FF000U ? 0x7C00U : result;  // 65520 and above
  result = a > 0x7F800000U ? 0x7E00U : result;   // NaN
  return static_cast<std::uint16_t>(sign | result);
}

inline std::uint32_t f16_to_f32(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000U) << 16;
  const std::uint32_t a = h & 0x7FFFU;
  // Normal numbers move their exponent; subnormal ones are an integer times 2^-24; infinities and NaN fill
  // it.
  const std::uint32_t normal = (a << 13) + 0x38000000U;
  const std::uint32_t tiny =
      std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(a)) * 0x1p-24F);
  const std::uint32_t special = (a << 13) + 0x70000000U;
  std::uint32_t result = a < 0x0400U ? tiny : normal;
  result = a >= 0x7C00U ? special : result;
  result |= a > 0x7C00U ? 0x00400000U : 0U;  // a signalling NaN becomes quiet
  return sign | result;
}

// To f16 and back in one step.
inline std::uint32_t round_to_f16(std::uint32_t u) {
  const std::uint32_t a = u & 0x7FFFFFFFU;
  const std::uint32_t tiny = std::bit_cast<std::uint32_t>(std::bit_cast<float>(a) + 0.5F - 0.5F);
  const std::uint32_t normal = (a + 0xFFFU + ((a >> 13) & 1U)) & 0xFFFFE000U;
  std::uint32_t result = a < 0x38800000U ? tiny : normal;
  result = a >= 0x477FF000U ? 0x7F800000U : result;
  result = a > 0x7F800000U ? 0x7FC00000U : result;
  return (u & 0x80000000U) | result;
}

// What distinguishes the four 8-bit formats.
struct Float8 {
  int bias;
  int mantissa_bits;
  std::uint32_t limit;            // bits of the float from which on `beyond` is the answer
  std::uint8_t beyond;            // without sign
  std::uint8_t largest;           // magnitudes that round above it become `beyond`
  std::uint8_t nan;               // without sign
  std::uint32_t subnormal_limit;  // bits of the smallest normal number
  bool unsigned_zero;             // FNUZ: no -0, and NaN has no sign
};
inline constexpr Float8 kE4M3 = {7, 3, 0x43F00000U, 0x7E, 0x7E, 0x7F, 0x3C800000U, false};
inline constexpr Float8 kE5M2 = {15, 2, 0x47800000U, 0x7C, 0x7C, 0x7F, 0x38800000U, false};
inline constexpr Float8 kE4M3Fnuz = {8, 3, 0x43800000U, 0x80, 0x7F, 0x80, 0x3C000000U, true};
inline constexpr Float8 kE5M2Fnuz = {16, 2, 0x47800000U, 0x80, 0x7F, 0x80, 0x38000000U, true};

template <const Float8& kFormat>
std::uint8_t f32_to_f8(std::uint32_t u) {
  constexpr std::uint32_t kShift = 23U - static_cast<std::uint32_t>(kFormat.mantissa_bits);
  // A power of two whose last mantissa bit is worth the smallest subnormal: 2^(1 - bias - mantissa + 23).
  constexpr std::uint32_t kMagic = static_cast<std::uint32_t>(127 + 24 - kFormat.bias - kFormat.mantissa_bits)
                                   << 23;
  constexpr std::uint32_t kRebias = static_cast<std::uint32_t>(kFormat.bias - 127) << 23;  // wraps on purpose
  const std::uint32_t a = u & 0x7FFFFFFFU;
  const std::uint32_t tiny =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(a) + std::bit_cast<float>(kMagic)) - kMagic;
  const std::uint32_t normal = (a + kRebias + ((1U << (kShift - 1)) - 1U) + ((a >> kShift) & 1U)) >> kShift;
  std::uint32_t result = a < kFormat.subnormal_limit ? tiny : normal;
  result = a >= kFormat.limit || result > kFormat.largest ? kFormat.beyond : result;
  result = a > 0x7F800000U ? kFormat.nan : result;
  const std::uint32_t sign = (u >> 24) & 0x80U;
  if constexpr (kFormat.unsigned_zero) return static_cast<std::uint8_t>(result == 0 ? 0U : sign | result);
  return static_cast<std::uint8_t>(sign | result);
}

// E8M0: only the exponent, rounded to nearest; 0xFF is NaN, infinities included.
inline std::uint8_t f32_to_e8m0(std::uint32_t u) {
  const std::uint32_t exponent = (u >> 23) & 0xFFU;
  if (exponent == 0xFF) return 0xFF;
  const bool guard = (u & 0x400000U) != 0;
  const bool rest = (u & 0x3FFFFFU) != 0;
  return static_cast<std::uint8_t>(exponent + (guard && (rest || exponent > 0) ? 1U : 0U));
}

inline std::uint32_t e8m0_to_f32(std::uint8_t v) {
  if (v == 0xFF) return 0x7FC00000U;
  return v == 0 ? 0x00400000U : std::uint32_t{v} << 23;  // 2^-127 is subnormal
}

// Any 8-bit format to float; used to fill tables.
constexpr float f8_to_f32(const Float8& format, std::uint8_t v) {
  const float nan = std::bit_cast<float>(0x7FC00000U);
  const float sign = (v & 0x80U) != 0 ? -1.0F : 1.0F;
  const int magnitude = v & 0x7F;
  if (format.unsigned_zero && v == 0x80) return nan;
  if (format.mantissa_bits == 3 && !format.unsigned_zero && magnitude == 0x7F) return nan;
  if (format.mantissa_bits == 2 && !format.unsigned_zero && magnitude >= 0x7C) {
    return magnitude == 0x7C ? sign * std::bit_cast<float>(0x7F800000U) : nan;
  }
  const int exponent = magnitude >> format.mantissa_bits;
  const int mantissa = magnitude & ((1 << format.mantissa_bits) - 1);
  const int scale = (exponent == 0 ? 1 : exponent) - format.bias - format.mantissa_bits;
  const int significand = exponent == 0 ? mantissa : mantissa + (1 << format.mantissa_bits);
  const float power = std::bit_cast<float>(static_cast<std::uint32_t>(scale + 127) << 23);
  return sign * static_cast<float>(significand) * power;
}

}  // namespace mu
