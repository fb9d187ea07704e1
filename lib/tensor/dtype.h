// SPDX-License-Identifier: Apache-2.0
// The element types of safetensors, in the reference's enum order (huggingface/safetensors, tensor.rs): its
// writer sorts by it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace mu {

enum class Dtype : std::uint8_t {
  kBool,
  kF4,      // e2m1, two in a byte, the first in the low half
  kF6E2M3,  // OCP MX, four in three bytes
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,  // "fn": finite, no infinities
  kF8E8M0,  // a scale's exponent
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,  // two F32: real, imaginary
  kF64,
  kI64,
  kU64,
  kForeign,  // a type that safetensors can't hold (quantised, complex128 …): described, never read as numbers
};
inline constexpr std::size_t kDtypes = 22;  // without kForeign

unsigned bits(Dtype dtype);                // of one element
std::string_view name(Dtype dtype);        // "BF16", as headers write it
std::string_view short_name(Dtype dtype);  // "bf16", as options and tables write it
std::string_view torch_name(Dtype dtype);  // "bfloat16"; empty where torch has no such type

std::optional<Dtype> parse_dtype(std::string_view name);  // "BF16", case-sensitive
// "bf16", "bfloat16", "fp16", "half", "float8_e4m3fn" …, in any case.
std::optional<Dtype> parse_user_dtype(std::string_view text);

bool is_floating(Dtype dtype);  // any floating type, E8M0 and the packed ones included
bool is_integer(Dtype dtype);   // signed or unsigned, not bool
bool is_float8(Dtype dtype);    // fp8 values: not E8M0, which holds scales

// Dimensions multiplied from left to right, as the reference does: [0, 2^64-1] is 0, [2^64-1, 2, 0]
// overflows.
std::optional<std::uint64_t> element_count(std::span<const std::uint64_t> shape);

enum class ByteSizeStatus : std::uint8_t { kOk, kOverflow, kMisaligned };
struct ByteSize {
  ByteSizeStatus status;
  std::uint64_t bytes;  // when kOk
};
// Bytes of a tensor; the count of bits must fit 64 bits and be a multiple of 8.
ByteSize tensor_bytes(Dtype dtype, std::span<const std::uint64_t> shape);

}  // namespace mu
