// SPDX-License-Identifier: Apache-2.0
// Groups of columns don't reach from one row into the next, so values and scales are read flat.
#include "weights/quant/ct_fp4.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/quant/e2m1.h"
#include "weights/quant/floats.h"

namespace mu {
namespace {

// What the library rounds values to before the type that is wanted.
constexpr Dtype kRounding = Dtype::kBF16;

void require_dtype(const Tensor& tensor, Dtype dtype) {
  if (tensor.dtype != dtype)
    throw malformed(
        fmt::format("'{}' is {}, not {}", escape_name(tensor.name), type_name(tensor), name(dtype)));
}

void check_args(const StoredWeight& stored, const CtArgs& args) {
  if (!args.is_float || args.num_bits != 4)
    throw malformed(fmt::format("'{}' is packed as floats of 4 bits, but its config group says {} of {} bits",
                                escape_name(stored.weight->name), args.is_float ? "floats" : "integers",
                                args.num_bits));
  if (!args.symmetric)
    throw refused(
        fmt::format("'{}' is stored as floats of 4 bits with zero points, which can't be made plain",
                    escape_name(stored.weight->name)));
}

// The weight without its values: packed values and scales, of which each is for `group` columns.
PlainWeight packed_weight(const StoredWeight& stored, Dtype scale_dtype, std::uint64_t group) {
  const Tensor& packed = *stored.weight;
  const Tensor& scales = stored.require(".weight_scale");
  require_dtype(packed, Dtype::kU8);
  require_dtype(scales, scale_dtype);
  if (packed.shape.size() != 2)
    throw malformed(fmt::format("'{}' {} is packed, but not a matrix", escape_name(packed.name),
                                shape_text(packed.shape)));
  const std::optional<std::uint64_t> columns = checked_mul(packed.shape[1], 2);
  const std::vector<std::uint64_t> shape{packed.shape[0], columns.value_or(0)};
  if (!columns || group == 0 || *columns % group != 0 ||
      scales.shape != std::vector<std::uint64_t>{shape[0], *columns / group})
    throw malformed(fmt::format("the scales '{}' {} don't fit '{}' {} in groups of {} columns",
                                escape_name(scales.name), shape_text(scales.shape), escape_name(packed.name),
                                shape_text(packed.shape), group));
  return {stored.module + ".weight", shape, {packed, scales}, {}};
}

// Fills `out`; read_scales(sources, first, scales) gives the scales from group `first` on.
template <typename ReadScales>
PlainValues values_of(std::uint64_t group, Dtype target, ReadScales read_scales) {
  const Dtype rounding = target == kRounding ? Dtype::kF32 : kRounding;
  return [group, rounding, read_scales](const Sources& sources, std::uint64_t first, std::span<float> out) {
    thread_local std::vector<float> scales;
    const std::uint64_t begin = first / group, end = (first + out.size() + group - 1) / group;
    scales.resize(static_cast<std::size_t>(end - begin));
    read_scales(sources, begin, std::span(scales));
    read_nibbles(sources, 0, kE2m1, first, scales, group, out);
    round_floats(rounding, out);
  };
}

}  // namespace

PlainWeight plain_ct_nvfp4(const StoredWeight& stored, const QuantContext& context, const CtArgs& args) {
  check_args(stored, args);
  const std::uint64_t group = args.group_size.value_or(16);
  PlainWeight weight = packed_weight(stored, Dtype::kF8E4M3, group);
  const Tensor& global = stored.require(".weight_global_scale");
  require_dtype(global, Dtype::kF32);
  if (global.element_count() != 1)
    throw malformed(
        fmt::format("'{}' {} is not one number", escape_name(global.name), shape_text(global.shape)));
  weight.sources.push_back(global);
  weight.values = values_of(group, context.target,
                            [](const Sources& sources, std::uint64_t first, std::span<float> scales) {
                              std::array<float, 1> divisor{};
                              read_floats(sources, 2, 0, divisor);
                              read_floats(sources, 1, first, scales);
                              for (float& scale : scales) scale /= divisor.front();
                            });
  return weight;
}

PlainWeight plain_ct_mxfp4(const StoredWeight& stored, const QuantContext& context, const CtArgs& args) {
  check_args(stored, args);
  const std::uint64_t group = args.group_size.value_or(32);
  PlainWeight weight = packed_weight(stored, Dtype::kU8, group);
  weight.values = values_of(group, context.target,
                            [](const Sources& sources, std::uint64_t first, std::span<float> scales) {
                              read_powers(sources, 1, first, scales);
                            });
  return weight;
}

}  // namespace mu
