// SPDX-License-Identifier: Apache-2.0
#include "weights/torch/types.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace mu {
namespace {

constexpr std::array kTypes = std::to_array<TorchType>({
    {"float32", Dtype::kF32, 4},
    {"float16", Dtype::kF16, 2},
    {"bfloat16", Dtype::kBF16, 2},
    {"float64", Dtype::kF64, 8},
    {"int64", Dtype::kI64, 8},
    {"int32", Dtype::kI32, 4},
    {"int16", Dtype::kI16, 2},
    {"int8", Dtype::kI8, 1},
    {"uint8", Dtype::kU8, 1},
    {"bool", Dtype::kBool, 1},
    {"uint16", Dtype::kU16, 2},
    {"uint32", Dtype::kU32, 4},
    {"uint64", Dtype::kU64, 8},
    {"complex64", Dtype::kC64, 8},
    {"float8_e4m3fn", Dtype::kF8E4M3, 1},
    {"float8_e5m2", Dtype::kF8E5M2, 1},
    {"float8_e4m3fnuz", Dtype::kF8E4M3Fnuz, 1},
    {"float8_e5m2fnuz", Dtype::kF8E5M2Fnuz, 1},
    {"float8_e8m0fnu", Dtype::kF8E8M0, 1},
    {"float4_e2m1fn_x2", Dtype::kF4, 1},
    {"complex32", Dtype::kForeign, 4},
    {"complex128", Dtype::kForeign, 16},
    {"qint8", Dtype::kForeign, 1},
    {"quint8", Dtype::kForeign, 1},
    {"qint32", Dtype::kForeign, 4},
    {"quint4x2", Dtype::kForeign, 1},
    {"quint2x4", Dtype::kForeign, 1},
    {"bits8", Dtype::kForeign, 1},
    {"bits16", Dtype::kForeign, 2},
    {"bits1x8", Dtype::kForeign, 1},
    {"bits2x4", Dtype::kForeign, 1},
    {"bits4x2", Dtype::kForeign, 1},
    // other names of the same
    {"float", Dtype::kF32, 4},
    {"double", Dtype::kF64, 8},
    {"half", Dtype::kF16, 2},
    {"long", Dtype::kI64, 8},
    {"int", Dtype::kI32, 4},
    {"short", Dtype::kI16, 2},
});

constexpr std::array kStorages =
    std::to_array<std::pair<std::string_view, std::string_view>>({{"FloatStorage", "float32"},
                                                                  {"HalfStorage", "float16"},
                                                                  {"BFloat16Storage", "bfloat16"},
                                                                  {"DoubleStorage", "float64"},
                                                                  {"LongStorage", "int64"},
                                                                  {"IntStorage", "int32"},
                                                                  {"ShortStorage", "int16"},
                                                                  {"CharStorage", "int8"},
                                                                  {"ByteStorage", "uint8"},
                                                                  {"BoolStorage", "bool"},
                                                                  {"ComplexFloatStorage", "complex64"},
                                                                  {"ComplexDoubleStorage", "complex128"},
                                                                  {"QInt8Storage", "qint8"},
                                                                  {"QUInt8Storage", "quint8"},
                                                                  {"QInt32Storage", "qint32"},
                                                                  {"QUInt4x2Storage", "quint4x2"},
                                                                  {"QUInt2x4Storage", "quint2x4"},
                                                                  {"UntypedStorage", "uint8"}});

}  // namespace

std::optional<TorchType> find_torch_type(std::string_view name) {
  const auto found =
      std::find_if(kTypes.begin(), kTypes.end(), [name](const TorchType& type) { return type.name == name; });
  return found == kTypes.end() ? std::nullopt : std::optional(*found);
}

std::optional<TorchType> find_storage_type(std::string_view class_name) {
  const auto found = std::find_if(kStorages.begin(), kStorages.end(),
                                  [class_name](const auto& entry) { return entry.first == class_name; });
  return found == kStorages.end() ? std::nullopt : find_torch_type(found->second);
}

std::vector<std::uint64_t> written_shape(Dtype dtype, std::vector<std::uint64_t> shape) {
  if (dtype != Dtype::kF4) return shape;
  if (shape.empty()) throw malformed("a float4 tensor needs a dimension");
  const std::optional<std::uint64_t> values = checked_mul(shape.back(), 2);
  if (!values) throw malformed("its shape overflows 64 bits");
  shape.back() = *values;
  return shape;
}

}  // namespace mu
