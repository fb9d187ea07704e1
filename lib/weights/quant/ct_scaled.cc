// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/ct_scaled.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "weights/quant/scaled.h"

namespace mu {
namespace {

const Tensor& scales_of(const StoredWeight& stored) {
  return only_scales(stored, {".weight_scale"}, ".weight_scale_inv");
}

std::optional<ScaleGrid> grid_of(const Shape& weight, const Shape& scales, const CtArgs& args) {
  const std::uint64_t columns = weight.empty() ? 1 : std::max<std::uint64_t>(weight.back(), 1);
  switch (args.strategy) {
    case CtStrategy::kTensor:
      if (element_count(scales) == 1) return single_scale(weight);
      return std::nullopt;
    case CtStrategy::kChannel:
      return blocks_of(weight, scales, 1, columns);
    case CtStrategy::kGroup:
    case CtStrategy::kTensorGroup:
      if (!args.group_size || *args.group_size == 0 || columns % *args.group_size != 0) return std::nullopt;
      return blocks_of(weight, scales, 1, *args.group_size);
    case CtStrategy::kBlock:
      if (!args.block_structure) return std::nullopt;
      return blocks_of(weight, scales, (*args.block_structure)[0], (*args.block_structure)[1]);
  }
  return std::nullopt;
}

std::string text(const CtArgs& args) {
  switch (args.strategy) {
    case CtStrategy::kTensor:
      return "with one scale";
    case CtStrategy::kChannel:
      return "with a scale for each row";
    case CtStrategy::kGroup:
    case CtStrategy::kTensorGroup:
      return fmt::format("in groups of {}", args.group_size.value_or(0));
    case CtStrategy::kBlock:
      break;
  }
  const auto [rows, columns] = args.block_structure.value_or(std::array<std::uint64_t, 2>{0, 0});
  return fmt::format("in blocks of {}x{}", rows, columns);
}

void refuse_what_only_older_versions_had(const StoredWeight& stored) {
  for (const std::string_view ending : {".weight_g_idx", ".weight_global_scale"}) {
    if (const Tensor* const found = stored.find(ending))
      throw refused(fmt::format("'{}' says how '{}' is stored, and it can't be made plain with that",
                                escape_name(found->name), escape_name(stored.weight->name)));
  }
}

PlainWeight plain_ct(const StoredWeight& stored, const CtArgs& args) {
  const Tensor& weight = *stored.weight;
  const Tensor& scales = scales_of(stored);
  refuse_what_only_older_versions_had(stored);
  const std::optional<ScaleGrid> grid = grid_of(weight.shape, scales.shape, args);
  if (!grid) throw misfit(scales, weight, weight.shape, text(args));
  ScaledWeight scaled{.name = weight.name,
                      .shape = weight.shape,
                      .coding = weight.dtype,
                      .values = weight,
                      .scales = scales,
                      .grid = *grid,
                      .rounding = scales.dtype == Dtype::kU8 ? Dtype::kBF16 : scales.dtype};
  if (!args.symmetric) {
    const Tensor& zeros = stored.require(".weight_zero_point");
    require_type(zeros, {Dtype::kI8, Dtype::kF8E4M3});
    if (zeros.shape != scales.shape) throw misfit(zeros, scales, scales.shape);
    scaled.zero_points = zeros;
  }
  return plain_scaled(std::move(scaled));
}

}  // namespace

PlainWeight plain_ct_float(const StoredWeight& stored, const QuantContext&, const CtArgs& args) {
  require_type(*stored.weight, {Dtype::kF8E4M3, Dtype::kF8E5M2});
  require_type(scales_of(stored), {Dtype::kF32, Dtype::kBF16, Dtype::kF16, Dtype::kU8});
  return plain_ct(stored, args);
}

PlainWeight plain_ct_int(const StoredWeight& stored, const QuantContext&, const CtArgs& args) {
  require_type(*stored.weight, {Dtype::kI8});
  require_type(scales_of(stored), {Dtype::kF32, Dtype::kBF16, Dtype::kF16});
  return plain_ct(stored, args);
}

}  // namespace mu
