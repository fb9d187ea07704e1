// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <doctest/doctest.h>

#include <vector>

#include "base/bytes.h"
#include "tensor/format.h"

using namespace mu;

namespace {

constexpr std::uint64_t kMax = ~std::uint64_t{0};

ByteSizeStatus status_of(Dtype dtype, std::vector<std::uint64_t> shape) {
  return tensor_bytes(dtype, shape).status;
}

template <typename T>
std::string format(Dtype dtype, T value) {
  std::byte bytes[sizeof(T)];
  store_le(bytes, value);
  return format_element(dtype, bytes, 0);
}

}  // namespace

TEST_CASE("dtype: names round-trip and differ") {
  for (std::size_t i = 0; i < kDtypes; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    CHECK(parse_dtype(name(dtype)) == dtype);
    CHECK(parse_user_dtype(short_name(dtype)) == dtype);
  }
  CHECK_FALSE(parse_dtype("bf16").has_value());
  CHECK_FALSE(parse_dtype("").has_value());
  CHECK_FALSE(parse_user_dtype("").has_value());
  CHECK(parse_user_dtype("BFloat16") == Dtype::kBF16);
  CHECK(parse_user_dtype("float8_e4m3fn") == Dtype::kF8E4M3);
  CHECK(parse_user_dtype("half") == Dtype::kF16);
}

TEST_CASE("dtype: sizes overflow where the reference's do") {
  CHECK(status_of(Dtype::kU8, {0, kMax}) == ByteSizeStatus::kOk);
  CHECK(status_of(Dtype::kU8, {kMax, 2, 0}) == ByteSizeStatus::kOverflow);
  CHECK(status_of(Dtype::kU8, {std::uint64_t{1} << 61}) == ByteSizeStatus::kOverflow);  // bits are counted
  CHECK(tensor_bytes(Dtype::kU8, std::vector{(std::uint64_t{1} << 61) - 1}).bytes ==
        (std::uint64_t{1} << 61) - 1);
  CHECK(status_of(Dtype::kF4, {3}) == ByteSizeStatus::kMisaligned);
  CHECK(status_of(Dtype::kF4, {}) == ByteSizeStatus::kMisaligned);
  CHECK(tensor_bytes(Dtype::kF4, std::vector<std::uint64_t>{4}).bytes == 2);
  CHECK(tensor_bytes(Dtype::kF6E2M3, std::vector<std::uint64_t>{4}).bytes == 3);
  CHECK(tensor_bytes(Dtype::kC64, std::vector<std::uint64_t>{}).bytes == 8);
}

TEST_CASE("format: the shortest text that reads back the same") {
  CHECK(format(Dtype::kF32, 0.1F) == "0.1");
  CHECK(format(Dtype::kF64, 0.1) == "0.1");
  CHECK(format(Dtype::kBF16, std::uint16_t{0x3DCD}) == "0.1");
  CHECK(format(Dtype::kF16, std::uint16_t{0x2E66}) == "0.1");
  CHECK(format(Dtype::kF8E4M3, std::uint8_t{0x7E}) == "448");
  CHECK(format(Dtype::kF32, 3.0F) == "3");
  CHECK(format(Dtype::kI8, std::int8_t{-3}) == "-3");
  CHECK(format(Dtype::kU64, ~std::uint64_t{0}) == "18446744073709551615");
  CHECK(format(Dtype::kI64, std::int64_t{-9007199254740993}) == "-9007199254740993");
  CHECK(format(Dtype::kI32, std::int32_t{123456789}) == "123456789");
  CHECK(format(Dtype::kBool, std::uint8_t{1}) == "true");
  CHECK(format(Dtype::kF16, std::uint16_t{0x7C00}) == "inf");
  CHECK(format(Dtype::kBF16, std::uint16_t{0xFFC0}) == "nan");
  const float complex[] = {1.5F, -2.0F};
  CHECK(format_element(Dtype::kC64, std::as_bytes(std::span(complex)), 0) == "1.5-2i");
  const std::byte pair[] = {std::byte{0xF1}};
  CHECK(format_element(Dtype::kF4, pair, 0) == "0.5");
  CHECK(format_element(Dtype::kF4, pair, 1) == "-6");
}
