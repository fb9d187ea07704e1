// SPDX-License-Identifier: Apache-2.0
#include "tensor/cast.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/bytes.h"
#include "tensor/decode.h"

using namespace mu;

namespace {

std::vector<std::byte> cast_all(Dtype from, Dtype to, std::span<const std::byte> in, CastReport& report) {
  std::vector<std::byte> out(in.size() * bits(to) / bits(from));
  cast(from, to, in, out, report);
  return out;
}

// Every 16-bit pattern in order.
std::vector<std::byte> all_halves() {
  std::vector<std::byte> bytes(2 * 65536);
  for (std::uint32_t i = 0; i < 65536; ++i) store_le(bytes.data() + 2 * i, static_cast<std::uint16_t>(i));
  return bytes;
}

std::uint32_t crc(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

std::uint32_t code_of(Dtype to, float value) {
  CastReport report;
  const std::vector<std::byte> out = cast_all(Dtype::kF32, to, std::as_bytes(std::span(&value, 1)), report);
  std::uint32_t code = 0;
  std::memcpy(&code, out.data(), out.size());
  return code;
}

float up(float x) {
  return std::nextafter(x, HUGE_VALF);
}
float down(float x) {
  return std::nextafter(x, 0.0F);
}

}  // namespace

TEST_CASE("cast: all 16-bit values give torch's bytes") {
  struct Row {
    Dtype to;
    std::uint32_t from_bf16, from_f16;
  };
  const Row rows[] = {
      {Dtype::kF8E4M3, 0xb4ca6f38, 0x5067a7ac},     {Dtype::kF8E5M2, 0xab11f833, 0x2ad4353a},
      {Dtype::kF8E4M3Fnuz, 0x1307319f, 0x529ee546}, {Dtype::kF8E5M2Fnuz, 0xf55fb73c, 0x353d3364},
      {Dtype::kF8E8M0, 0x0f916d60, 0x35f44fe2},
  };
  const std::vector<std::byte> halves = all_halves();
  CastReport report;
  for (const Row& row : rows) {
    CAPTURE(name(row.to));
    CHECK(crc(cast_all(Dtype::kBF16, row.to, halves, report)) == row.from_bf16);
    CHECK(crc(cast_all(Dtype::kF16, row.to, halves, report)) == row.from_f16);
  }
  CHECK(crc(cast_all(Dtype::kF16, Dtype::kBF16, halves, report)) == 0xb8f1205d);
  CHECK(crc(cast_all(Dtype::kBF16, Dtype::kF16, halves, report)) == 0xbe77f3a7);
}

TEST_CASE("cast: all 8-bit values decode to torch's floats") {
  const std::pair<Dtype, std::uint32_t> rows[] = {{Dtype::kF8E4M3, 0x2fdee9ac},
                                                  {Dtype::kF8E5M2, 0x3d83fd11},
                                                  {Dtype::kF8E4M3Fnuz, 0xf2dfa052},
                                                  {Dtype::kF8E5M2Fnuz, 0x09c70b84}};
  std::vector<std::byte> codes(256);
  for (unsigned i = 0; i < 256; ++i) codes[i] = static_cast<std::byte>(i);
  for (const auto& [dtype, golden] : rows) {
    std::vector<float> values(256);
    decode(dtype, codes, std::span(values));
    for (float& value : values) {
      if (std::isnan(value)) value = std::bit_cast<float>(0x7FC00000U);
    }
    CAPTURE(name(dtype));
    CHECK(crc(std::as_bytes(std::span(values))) == golden);
  }
}

TEST_CASE("cast: narrow values survive the way up and down") {
  const std::vector<std::byte> halves = all_halves();
  CastReport report;
  for (const Dtype half : {Dtype::kF16, Dtype::kBF16}) {
    for (const Dtype wide : {Dtype::kF32, Dtype::kF64}) {
      const std::vector<std::byte> back = cast_all(wide, half, cast_all(half, wide, halves, report), report);
      std::uint32_t wrong = 0;
      for (std::uint32_t i = 0; i < 65536; ++i) {
        const auto code = load_le<std::uint16_t>(back.data() + 2 * i);
        const bool nan = half == Dtype::kF16 ? (i & 0x7FFFU) > 0x7C00U : (i & 0x7FFFU) > 0x7F80U;
        if (!nan && code != i) ++wrong;
      }
      CHECK(wrong == 0);
    }
  }
  CHECK(report.overflowed + report.clipped + report.underflowed == 0);
}

TEST_CASE("cast: thresholds, one step on either side") {
  // Overflow and saturation.
  CHECK(code_of(Dtype::kF16, down(65520.0F)) == 0x7BFF);
  CHECK(code_of(Dtype::kF16, 65520.0F) == 0x7C00);
  CHECK(code_of(Dtype::kBF16, std::bit_cast<float>(0x7F7F7FFFU)) == 0x7F7F);
  CHECK(code_of(Dtype::kBF16, std::bit_cast<float>(0x7F7F8000U)) == 0x7F80);
  CHECK(code_of(Dtype::kF8E4M3, 448.0F) == 0x7E);
  CHECK(code_of(Dtype::kF8E4M3, 1e30F) == 0x7E);
  CHECK(code_of(Dtype::kF8E4M3, -HUGE_VALF) == 0xFE);
  CHECK(code_of(Dtype::kF8E4M3, std::nanf("")) == 0x7F);
  CHECK(code_of(Dtype::kF8E5M2, down(61440.0F)) == 0x7B);
  CHECK(code_of(Dtype::kF8E5M2, 61440.0F) == 0x7C);
  // The smallest that survive; ties go to even.
  CHECK(code_of(Dtype::kF16, 0x1p-25F) == 0);
  CHECK(code_of(Dtype::kF16, up(0x1p-25F)) == 1);
  CHECK(code_of(Dtype::kF8E4M3, 0x1p-10F) == 0);
  CHECK(code_of(Dtype::kF8E4M3, up(0x1p-10F)) == 1);
  CHECK(code_of(Dtype::kF8E5M2, 0x1p-17F) == 0);
  CHECK(code_of(Dtype::kF8E5M2, up(0x1p-17F)) == 1);
  CHECK(code_of(Dtype::kF16, -0.0F) == 0x8000);
  CHECK(code_of(Dtype::kBF16, 1.00390625F) == 0x3F80);  // 1 + 2^-8, a tie
  CHECK(code_of(Dtype::kBF16, up(1.00390625F)) == 0x3F81);
  CHECK(code_of(Dtype::kBF16, std::nanf("")) == 0x7FC0);
}

TEST_CASE("cast: f64 goes through f32, as torch does") {
  // Halfway between two bf16 after rounding to f32, above it before: once rounded it is even.
  const double value = 1.00390625 + 0x1p-40;
  CastReport report;
  const std::vector<std::byte> out =
      cast_all(Dtype::kF64, Dtype::kBF16, std::as_bytes(std::span(&value, 1)), report);
  CHECK(load_le<std::uint16_t>(out.data()) == 0x3F80);
}

TEST_CASE("cast: losses are counted") {
  const float values[] = {1.0F, 0.0F, 70000.0F, -70000.0F, 1e-30F, HUGE_VALF, std::nanf(""), 65519.0F};
  CastReport half;
  cast_all(Dtype::kF32, Dtype::kF16, std::as_bytes(std::span(values)), half);
  CHECK(half.overflowed == 2);
  CHECK(half.underflowed == 1);
  CHECK(half.clipped == 0);
  CastReport fp8;
  cast_all(Dtype::kF32, Dtype::kF8E4M3, std::as_bytes(std::span(values)), fp8);
  CHECK(fp8.clipped == 4);
  CHECK(fp8.overflowed == 0);
  const double wide[] = {1e300, -1e300, 1e-300, HUGE_VAL};
  CastReport narrow;
  cast_all(Dtype::kF64, Dtype::kBF16, std::as_bytes(std::span(wide)), narrow);
  CHECK(narrow.overflowed == 2);
  CHECK(narrow.underflowed == 1);
}

TEST_CASE("cast: any length gives what single elements give") {
  std::vector<float> values(5000);
  std::uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = std::bit_cast<float>(state);
  }
  for (const Dtype to : {Dtype::kBF16, Dtype::kF16, Dtype::kF8E4M3, Dtype::kF8E5M2}) {
    CastReport report;
    const std::vector<std::byte> out = cast_all(Dtype::kF32, to, std::as_bytes(std::span(values)), report);
    std::uint32_t wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint32_t code = 0;
      std::memcpy(&code, out.data() + i * bits(to) / 8, bits(to) / 8);
      if (code != code_of(to, values[i])) ++wrong;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("cast: what can't be cast") {
  CHECK_FALSE(can_cast(Dtype::kI32, Dtype::kF32));
  CHECK_FALSE(can_cast(Dtype::kF32, Dtype::kI32));
  CHECK_FALSE(can_cast(Dtype::kF6E2M3, Dtype::kF32));
  CHECK(can_cast(Dtype::kF64, Dtype::kF8E5M2));
}
