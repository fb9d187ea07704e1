// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/fp8.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/quant/scaled.h"

namespace mu {
namespace {

struct Block {
  std::uint64_t rows, columns;
};

// What Transformers takes when the config says nothing.
constexpr Block kUsualBlock = {128, 128};
constexpr std::uint64_t kPairsBlock = 32;  // E2M1 values that share a scale

struct BlockSetting {
  std::optional<Block> block;  // nothing: null, the grid alone says it
  bool given = false;
};

BlockSetting block_setting(const JsonValue& settings) {
  const JsonValue* const value = settings.find("weight_block_size");
  if (value == nullptr) return {kUsualBlock, false};
  if (value->kind() == JsonValue::Kind::kNull) return {std::nullopt, true};
  const std::vector<JsonValue>& items = value->items();
  const std::uint64_t rows = items.size() == 2 ? items[0].as_u64().value_or(0) : 0;
  const std::uint64_t columns = items.size() == 2 ? items[1].as_u64().value_or(0) : 0;
  if (rows == 0 || columns == 0)
    throw malformed("weight_block_size of quantization_config is not two whole numbers above 0")
        .in_file("config.json");
  return {Block{rows, columns}, true};
}

// Publishers call them differently.
const Tensor& scales_of(const StoredWeight& stored) {
  const std::string leaf =
      stored.weight->name.substr(std::min(stored.module.size(), stored.weight->name.size())) + "_scale";
  const std::string inverse = leaf + "_inv";
  return only_scales(stored, {std::string_view(inverse), ".scale", ".qscale_weight"}, leaf);
}

// Transformers joins the gate and up projections of experts with the blocks that each had alone, which may be more than
// those of both together.
std::optional<ScaleGrid> joined_grid(const Shape& shape, const Shape& scales, const Block& block) {
  if (shape.size() != 3 || scales.size() != 3 || shape[1] % 2 != 0 || scales[1] % 2 != 0) return std::nullopt;
  const std::optional<std::uint64_t> planes = checked_mul(shape[0], 2);
  if (!planes || scales[0] != shape[0]) return std::nullopt;
  return blocks_of({*planes, shape[1] / 2, shape[2]}, {*planes, scales[1] / 2, scales[2]}, block.rows,
                   block.columns);
}

bool is_by_row(const Shape& shape, const Shape& scales) {
  return scales.size() == shape.size() && scales.back() == 1 &&
         scales[shape.size() - 2] == shape[shape.size() - 2];
}

std::optional<ScaleGrid> grid_of(const Tensor& weight, const Shape& scales, const BlockSetting& setting) {
  const Shape& shape = weight.shape;
  if (scales.empty() || scales == Shape{1}) return single_scale(shape);
  if (setting.block) {
    if (const auto grid = blocks_of(shape, scales, setting.block->rows, setting.block->columns)) return grid;
    if (weight.name.ends_with("gate_up_proj")) {
      if (const auto grid = joined_grid(shape, scales, *setting.block)) return grid;
    }
  }
  // Transformers takes any grid that divides the weight, which hides an error where the config says the block.
  const bool is_said = setting.block && setting.given;
  return is_said && !is_by_row(shape, scales) ? std::nullopt : divided_by(shape, scales);
}

std::string text(const BlockSetting& setting) {
  return setting.block ? fmt::format("in blocks of {}x{}", setting.block->rows, setting.block->columns) : "";
}

}  // namespace

PlainWeight plain_fp8(const StoredWeight& stored, const QuantContext& context) {
  const Tensor& weight = *stored.weight;
  require_type(weight, {Dtype::kF8E4M3, Dtype::kF8E5M2, Dtype::kI8});
  const bool pairs = weight.dtype == Dtype::kI8;
  const Tensor& scales = scales_of(stored);
  require_type(scales, {Dtype::kF32, Dtype::kBF16, Dtype::kF16, Dtype::kF8E8M0, Dtype::kU8});
  Shape shape = weight.shape;
  if (shape.size() < 2)
    throw malformed(
        fmt::format("'{}' {} is quantised, but not a matrix", escape_name(weight.name), shape_text(shape)));
  BlockSetting setting = block_setting(context.settings);
  if (pairs) {
    const std::optional<std::uint64_t> columns = checked_mul(shape.back(), 2);
    if (!columns) throw malformed(fmt::format("'{}' has too many columns", escape_name(weight.name)));
    shape.back() = *columns;
    setting.block = {1, kPairsBlock};
  }
  const std::optional<ScaleGrid> grid =
      pairs ? blocks_of(shape, scales.shape, 1, kPairsBlock) : grid_of(weight, scales.shape, setting);
  if (!grid) throw misfit(scales, weight, shape, text(setting));
  return plain_scaled({.name = weight.name,
                       .shape = std::move(shape),
                       .coding = pairs ? Dtype::kF4 : weight.dtype,
                       .values = weight,
                       .scales = scales,
                       .grid = *grid});
}

}  // namespace mu
