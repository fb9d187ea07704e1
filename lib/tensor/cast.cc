// SPDX-License-Identifier: Apache-2.0
// Everything goes through float in blocks that stay in the first-level cache: decode, count what the target
// can't hold, encode. The loops are branch-free so that the compiler makes vector code of them.
#include "tensor/cast.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "tensor/convert.h"
#include "tensor/decode.h"
#include "tensor/simd.h"

namespace mu {
namespace {

constexpr std::size_t kBlock = 2048;  // values; 8 KiB of floats

// Magnitudes, as bits of floats, from which and up to which a target loses a value.
struct Limits {
  std::uint32_t lost_from;   // finite values from here on overflow
  std::uint32_t zero_up_to;  // values up to here become zero
  bool clips;                // overflow gives the largest finite value, for infinities too
};

Limits limits_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16:
      return {0x7F7F8000U, 0x00008000U, false};
    case Dtype::kF16:
      return {0x477FF000U, 0x33000000U, false};  // 65520, 2^-25
    case Dtype::kF8E4M3:
      return {0x43E80001U, 0x3A800000U, true};  // above 464, 2^-10
    case Dtype::kF8E5M2:
      return {0x47700000U, 0x37000000U, false};  // 61440, 2^-17
    case Dtype::kF8E4M3Fnuz:
      return {0x43780000U, 0x3A000000U, false};  // 248, 2^-11
    case Dtype::kF8E5M2Fnuz:
      return {0x47700000U, 0x36800000U, false};  // 61440, 2^-18
    default:
      return {0xFFFFFFFFU, 0, false};
  }
}

MU_SIMD void count_losses(const float* in, std::size_t count, std::uint32_t lost_from, std::uint32_t lost_to,
                          std::uint32_t zero_up_to, std::uint32_t& lost_out, std::uint32_t& zero_out) {
  std::uint32_t lost = 0;
  std::uint32_t zero = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t a = std::bit_cast<std::uint32_t>(in[i]) & 0x7FFFFFFFU;
    lost += static_cast<std::uint32_t>(a >= lost_from) & static_cast<std::uint32_t>(a <= lost_to);
    zero += static_cast<std::uint32_t>(a - 1U < zero_up_to);  // 0 itself wraps to the top
  }
  lost_out = lost;
  zero_out = zero;
}

void report_losses(Dtype to, std::span<const float> values, CastReport& report) {
  const Limits limits = limits_of(to);
  if (limits.lost_from == 0xFFFFFFFFU) return;
  std::uint32_t lost = 0;
  std::uint32_t zero = 0;
  count_losses(values.data(), values.size(), limits.lost_from, limits.clips ? 0x7F800000U : 0x7F7FFFFFU,
               limits.zero_up_to, lost, zero);
  (limits.clips ? report.clipped : report.overflowed) += lost;
  report.underflowed += zero;
}

MU_SIMD void encode_bf16(const float* in, std::byte* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + 2 * i, f32_to_bf16(std::bit_cast<std::uint32_t>(in[i])));
}

MU_SIMD void encode_f16(const float* in, std::byte* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + 2 * i, f32_to_f16(std::bit_cast<std::uint32_t>(in[i])));
}

MU_SIMD void encode_e4m3(const float* in, std::byte* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + i, f32_to_f8<kE4M3>(std::bit_cast<std::uint32_t>(in[i])));
}

MU_SIMD void encode_e5m2(const float* in, std::byte* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + i, f32_to_f8<kE5M2>(std::bit_cast<std::uint32_t>(in[i])));
}

// Types that no program writes today; the golden values of the tests cover them.
template <std::uint8_t (*kEncode)(std::uint32_t)>
void encode_each(const float* in, std::byte* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) store_le(out + i, kEncode(std::bit_cast<std::uint32_t>(in[i])));
}

MU_SIMD void encode_f64(const float* in, std::byte* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) store_le(out + 8 * i, static_cast<double>(in[i]));
}

void encode_f32(const float* in, std::byte* out, std::size_t count) {
  std::memcpy(out, in, count * sizeof(float));
}

using Encoder = void (*)(const float* in, std::byte* out, std::size_t count);

Encoder encoder_of(Dtype to) {
  switch (to) {
    case Dtype::kF64:
      return encode_f64;
    case Dtype::kF32:
      return encode_f32;
    case Dtype::kF16:
      return encode_f16;
    case Dtype::kBF16:
      return encode_bf16;
    case Dtype::kF8E4M3:
      return encode_e4m3;
    case Dtype::kF8E5M2:
      return encode_e5m2;
    case Dtype::kF8E4M3Fnuz:
      return encode_each<f32_to_f8<kE4M3Fnuz>>;
    case Dtype::kF8E5M2Fnuz:
      return encode_each<f32_to_f8<kE5M2Fnuz>>;
    case Dtype::kF8E8M0:
      return encode_each<f32_to_e8m0>;
    default:
      return nullptr;
  }
}

// f64 to f32 on the way to anything: the values that f32 loses are counted here, since later steps can't see
// them.
void narrow(std::span<const std::byte> in, std::span<float> out, bool target_clips, CastReport& report) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto value = load_le<double>(in.data() + 8 * i);
    out[i] = static_cast<float>(value);
    if (std::isinf(out[i]) && std::isfinite(value) && !target_clips) ++report.overflowed;
    if (out[i] == 0.0F && value != 0.0) ++report.underflowed;
  }
}

}  // namespace

bool can_cast(Dtype from, Dtype to) {
  return is_floating(from) && from != Dtype::kF4 && can_decode(from) && encoder_of(to) != nullptr;
}

void cast(Dtype from, Dtype to, std::span<const std::byte> in, std::span<std::byte> out, CastReport& report) {
  if (from == to) {
    std::copy(in.begin(), in.end(), out.begin());  // also of nothing, whose address is null
    return;
  }
  const Encoder encode = encoder_of(to);
  const std::size_t from_size = bits(from) / 8;
  const std::size_t to_size = bits(to) / 8;
  const std::size_t count = in.size() / from_size;
  alignas(64) std::array<float, kBlock> block;
  for (std::size_t done = 0; done < count; done += kBlock) {
    const std::span<float> values = std::span(block).first(std::min(kBlock, count - done));
    const std::span<const std::byte> piece = in.subspan(done * from_size, values.size() * from_size);
    if (from == Dtype::kF64) {
      narrow(piece, values, limits_of(to).clips, report);
    } else {
      decode(from, piece, values);
    }
    report_losses(to, values, report);
    encode(values.data(), out.data() + done * to_size, values.size());
  }
}

}  // namespace mu
