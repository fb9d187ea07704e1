// SPDX-License-Identifier: Apache-2.0
#include "tensor/decode.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/bytes.h"
#include "tensor/convert.h"
#include "tensor/simd.h"

namespace mu {
namespace {

using Table = std::array<float, 256>;

constexpr Table make_table(const Float8& format) {
  Table table{};
  for (unsigned v = 0; v < 256; ++v) table[v] = f8_to_f32(format, static_cast<std::uint8_t>(v));
  return table;
}
constexpr Table kTableE4M3 = make_table(kE4M3);
constexpr Table kTableE5M2 = make_table(kE5M2);
constexpr Table kTableE4M3Fnuz = make_table(kE4M3Fnuz);
constexpr Table kTableE5M2Fnuz = make_table(kE5M2Fnuz);

constexpr std::array<float, 16> kF4 = {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                       -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};

template <typename Out>
void decode_table(const Table& table, std::span<const std::byte> in, std::span<Out> out) {
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<Out>(table[std::to_integer<unsigned>(in[i])]);
}

template <typename In, typename Out>
void decode_plain(std::span<const std::byte> in, std::span<Out> out) {
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<Out>(load_le<In>(in.data() + i * sizeof(In)));
}

MU_SIMD void decode_bf16(const std::byte* in, float* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    out[i] = std::bit_cast<float>(bf16_to_f32(load_le<std::uint16_t>(in + 2 * i)));
}

MU_SIMD void decode_f16(const std::byte* in, float* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    out[i] = std::bit_cast<float>(f16_to_f32(load_le<std::uint16_t>(in + 2 * i)));
}

void decode_half(Dtype dtype, std::span<const std::byte> in, std::span<float> out) {
  (dtype == Dtype::kBF16 ? decode_bf16 : decode_f16)(in.data(), out.data(), out.size());
}

void decode_half(Dtype dtype, std::span<const std::byte> in, std::span<double> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto half = load_le<std::uint16_t>(in.data() + 2 * i);
    out[i] = static_cast<double>(
        std::bit_cast<float>(dtype == Dtype::kBF16 ? bf16_to_f32(half) : f16_to_f32(half)));
  }
}

template <typename Out>
void decode_any(Dtype dtype, std::span<const std::byte> in, std::span<Out> out) {
  switch (dtype) {
    case Dtype::kBool:
    case Dtype::kU8:
      return decode_plain<std::uint8_t>(in, out);
    case Dtype::kI8:
      return decode_plain<std::int8_t>(in, out);
    case Dtype::kI16:
      return decode_plain<std::int16_t>(in, out);
    case Dtype::kU16:
      return decode_plain<std::uint16_t>(in, out);
    case Dtype::kI32:
      return decode_plain<std::int32_t>(in, out);
    case Dtype::kU32:
      return decode_plain<std::uint32_t>(in, out);
    case Dtype::kI64:
      return decode_plain<std::int64_t>(in, out);
    case Dtype::kU64:
      return decode_plain<std::uint64_t>(in, out);
    case Dtype::kF32:
    case Dtype::kC64:
      return decode_plain<float>(in, out);
    case Dtype::kF64:
      return decode_plain<double>(in, out);
    case Dtype::kF16:
    case Dtype::kBF16:
      return decode_half(dtype, in, out);
    case Dtype::kF8E4M3:
      return decode_table(kTableE4M3, in, out);
    case Dtype::kF8E5M2:
      return decode_table(kTableE5M2, in, out);
    case Dtype::kF8E4M3Fnuz:
      return decode_table(kTableE4M3Fnuz, in, out);
    case Dtype::kF8E5M2Fnuz:
      return decode_table(kTableE5M2Fnuz, in, out);
    case Dtype::kF8E8M0:
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<Out>(std::bit_cast<float>(e8m0_to_f32(std::to_integer<std::uint8_t>(in[i]))));
      }
      return;
    case Dtype::kF4:
      for (std::size_t i = 0; i < out.size(); ++i) {
        const auto pair = std::to_integer<unsigned>(in[i / 2]);
        out[i] = static_cast<Out>(kF4[i % 2 == 0 ? pair & 15U : pair >> 4]);
      }
      return;
    case Dtype::kF6E2M3:
    case Dtype::kF6E3M2:
      throw malformed("the values of F6 tensors can't be read: the format does not say how they are packed");
    case Dtype::kForeign:
      throw malformed("the values of this type can't be read");
  }
}

}  // namespace

bool can_decode(Dtype dtype) {
  return dtype != Dtype::kF6E2M3 && dtype != Dtype::kF6E3M2 && dtype != Dtype::kForeign;
}

bool fits_float(Dtype dtype) {
  switch (dtype) {
    case Dtype::kI32:
    case Dtype::kU32:
    case Dtype::kI64:
    case Dtype::kU64:
    case Dtype::kF64:
      return false;
    default:
      return can_decode(dtype);
  }
}

std::size_t value_count(Dtype dtype, std::size_t bytes) {
  const std::size_t value_bits = dtype == Dtype::kC64 ? 32 : bits(dtype);
  return bytes * 8 / value_bits;
}

void decode(Dtype dtype, std::span<const std::byte> in, std::span<float> out) {
  decode_any(dtype, in, out);
}
void decode(Dtype dtype, std::span<const std::byte> in, std::span<double> out) {
  decode_any(dtype, in, out);
}

}  // namespace mu
