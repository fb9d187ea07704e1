// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <utility>

#include "base/checked.h"
#include "base/text.h"

namespace mu {
namespace {

struct DtypeFacts {
  unsigned bits;
  std::string_view name, short_name, torch_name;
};
constexpr std::array<DtypeFacts, kDtypes + 1> kFacts = {{
    {8, "BOOL", "bool", "bool"},
    {4, "F4", "f4", "float4_e2m1fn_x2"},
    {6, "F6_E2M3", "f6_e2m3", ""},
    {6, "F6_E3M2", "f6_e3m2", ""},
    {8, "U8", "u8", "uint8"},
    {8, "I8", "i8", "int8"},
    {8, "F8_E5M2", "f8_e5m2", "float8_e5m2"},
    {8, "F8_E4M3", "f8_e4m3", "float8_e4m3fn"},
    {8, "F8_E8M0", "f8_e8m0", "float8_e8m0fnu"},
    {8, "F8_E4M3FNUZ", "f8_e4m3fnuz", "float8_e4m3fnuz"},
    {8, "F8_E5M2FNUZ", "f8_e5m2fnuz", "float8_e5m2fnuz"},
    {16, "I16", "i16", "int16"},
    {16, "U16", "u16", "uint16"},
    {16, "F16", "f16", "float16"},
    {16, "BF16", "bf16", "bfloat16"},
    {32, "I32", "i32", "int32"},
    {32, "U32", "u32", "uint32"},
    {32, "F32", "f32", "float32"},
    {64, "C64", "c64", "complex64"},
    {64, "F64", "f64", "float64"},
    {64, "I64", "i64", "int64"},
    {64, "U64", "u64", "uint64"},
    {0, "?", "?", ""},
}};

const DtypeFacts& facts(Dtype dtype) {
  return kFacts[static_cast<std::size_t>(dtype)];
}

constexpr std::array<std::pair<std::string_view, Dtype>, 6> kAliases = {{{"fp16", Dtype::kF16},
                                                                         {"half", Dtype::kF16},
                                                                         {"fp32", Dtype::kF32},
                                                                         {"float", Dtype::kF32},
                                                                         {"fp64", Dtype::kF64},
                                                                         {"double", Dtype::kF64}}};

}  // namespace

unsigned bits(Dtype dtype) {
  return facts(dtype).bits;
}
std::string_view name(Dtype dtype) {
  return facts(dtype).name;
}
std::string_view short_name(Dtype dtype) {
  return facts(dtype).short_name;
}
std::string_view torch_name(Dtype dtype) {
  return facts(dtype).torch_name;
}

std::optional<Dtype> parse_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kDtypes; ++i) {
    if (kFacts[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

std::optional<Dtype> parse_user_dtype(std::string_view text) {
  const std::string lower = lower_ascii(text);
  for (std::size_t i = 0; i < kDtypes; ++i) {
    if (kFacts[i].short_name == lower || (!lower.empty() && kFacts[i].torch_name == lower))
      return static_cast<Dtype>(i);
  }
  const auto alias = std::find_if(kAliases.begin(), kAliases.end(),
                                  [&lower](const auto& entry) { return entry.first == lower; });
  if (alias == kAliases.end()) return std::nullopt;
  return alias->second;
}

bool is_floating(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBool:
    case Dtype::kU8:
    case Dtype::kI8:
    case Dtype::kI16:
    case Dtype::kU16:
    case Dtype::kI32:
    case Dtype::kU32:
    case Dtype::kI64:
    case Dtype::kU64:
    case Dtype::kC64:
    case Dtype::kForeign:
      return false;
    default:
      return true;
  }
}

bool is_integer(Dtype dtype) {
  return !is_floating(dtype) && dtype != Dtype::kBool && dtype != Dtype::kC64 && dtype != Dtype::kForeign;
}

bool is_float8(Dtype dtype) {
  return is_floating(dtype) && bits(dtype) == 8 && dtype != Dtype::kF8E8M0;
}

std::optional<std::uint64_t> element_count(std::span<const std::uint64_t> shape) {
  std::optional<std::uint64_t> count = 1;
  for (const std::uint64_t dimension : shape) {
    count = checked_mul(*count, dimension);
    if (!count) break;
  }
  return count;
}

ByteSize tensor_bytes(Dtype dtype, std::span<const std::uint64_t> shape) {
  const std::optional<std::uint64_t> count = element_count(shape);
  const std::optional<std::uint64_t> total = count ? checked_mul(*count, bits(dtype)) : std::nullopt;
  if (!total) return {ByteSizeStatus::kOverflow, 0};
  if (*total % 8 != 0) return {ByteSizeStatus::kMisaligned, 0};
  return {ByteSizeStatus::kOk, *total / 8};
}

}  // namespace mu
