// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/bnb_int8.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "weights/quant/scaled.h"

namespace mu {
namespace {

// 1/127 as the library has it, in float.
constexpr float kPart = 7.874015718698502e-3F;

// Orders of values for the tensor cores of older cards.
void require_rows(const StoredWeight& stored, const QuantContext& context) {
  const Tensor* const format = stored.find(".weight_format");
  if (format == nullptr) return;
  require_type(*format, {Dtype::kU8});
  if (format->size != 1) throw malformed(fmt::format("'{}' is not one number", escape_name(format->name)));
  std::array<std::byte, 1> value{};
  context.weights.read(*format, 0, value);
  if (value[0] != std::byte{0})
    throw refused(fmt::format("'{}' is {}: only 0, rows in order, can be made plain",
                              escape_name(format->name), std::to_integer<int>(value[0])));
}

}  // namespace

PlainWeight plain_bnb_int8(const StoredWeight& stored, const QuantContext& context) {
  const Tensor& weight = *stored.weight;
  const Tensor& largest = stored.require(".SCB");
  require_type(weight, {Dtype::kI8});
  require_type(largest, {Dtype::kF32});
  if (weight.shape.size() != 2 || largest.shape != Shape{weight.shape[0]})
    throw misfit(largest, weight, weight.shape);
  require_rows(stored, context);
  const std::uint64_t rows = weight.shape[0], columns = weight.shape[1];
  PlainWeight plain =
      plain_scaled({.name = weight.name,
                    .shape = weight.shape,
                    .coding = Dtype::kI8,
                    .values = weight,
                    .scales = largest,
                    .grid = {rows, columns, rows, 1, 1, std::max<std::uint64_t>(columns, 1)}});
  plain.values = [scaled = std::move(plain.values)](const Sources& sources, std::uint64_t first,
                                                    std::span<float> out) {
    scaled(sources, first, out);
    for (float& value : out) value *= kPart;
  };
  return plain;
}

}  // namespace mu
