// SPDX-License-Identifier: Apache-2.0
// Random numbers by position: the n-th number of a seed, without computing those before it, the same on every
// machine (splitmix64; Steele, Lea, Flood 2014).
#pragma once

#include <cstdint>

namespace mu {

inline std::uint64_t random_bits(std::uint64_t seed, std::uint64_t n) {
  std::uint64_t z = seed * 0xD1342543DE82EF95ULL + (n + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31U);
}

inline bool random_sign(std::uint64_t seed, std::uint64_t n) {
  return (random_bits(seed, n / 64) >> (n % 64) & 1U) != 0;
}

// Uniform in [-0.5, 0.5).
inline float random_unit(std::uint64_t seed, std::uint64_t n) {
  return static_cast<float>(random_bits(seed, n) >> 40U) * 0x1p-24F - 0.5F;
}

}  // namespace mu
