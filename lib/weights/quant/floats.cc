// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/floats.h"

#include <bit>
#include <vector>

#include "tensor/convert.h"
#include "tensor/decode.h"
#include "tensor/simd.h"

namespace mu {
namespace {

MU_SIMD void round_bf16(float* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    values[i] = std::bit_cast<float>(bf16_to_f32(f32_to_bf16(std::bit_cast<std::uint32_t>(values[i]))));
}

MU_SIMD void round_f16(float* values, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    values[i] = std::bit_cast<float>(round_to_f16(std::bit_cast<std::uint32_t>(values[i])));
}

}  // namespace

std::span<const std::byte> read_bytes(const Sources& sources, std::size_t which, std::uint64_t at,
                                      std::size_t size) {
  thread_local std::vector<std::byte> buffer;
  buffer.resize(size);
  sources.read(which, at, buffer);
  return buffer;
}

void read_floats(const Sources& sources, std::size_t which, std::uint64_t first, std::span<float> out) {
  const Dtype dtype = sources[which].dtype;
  const std::uint64_t element = bits(dtype) / 8;
  decode(dtype, read_bytes(sources, which, first * element, out.size() * element), out);
}

void read_powers(const Sources& sources, std::size_t which, std::uint64_t first, std::span<float> out) {
  const std::span<const std::byte> bytes = read_bytes(sources, which, first, out.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto exponent = std::to_integer<std::uint32_t>(bytes[i]);
    out[i] = std::bit_cast<float>(exponent == 0 ? 0x00400000U : exponent << 23);
  }
}

void round_floats(Dtype type, std::span<float> values) {
  if (type == Dtype::kBF16) round_bf16(values.data(), values.size());
  if (type == Dtype::kF16) round_f16(values.data(), values.size());
}

}  // namespace mu
