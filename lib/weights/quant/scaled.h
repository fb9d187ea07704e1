// SPDX-License-Identifier: Apache-2.0
// Values of a byte, or of half a byte, times scales that lie over them as a grid: one scale for a block of rows and
// columns, down to one for the whole weight. Most methods of 8 bits are this with their own spelling and rounding.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "weights/quant/stored.h"

namespace mu {

// Where the scales of a weight lie. Of a weight with more than two dimensions, each plane (the last two) has a grid of
// its own.
struct ScaleGrid {
  std::uint64_t rows, columns;              // of a plane of the weight
  std::uint64_t scale_rows, scale_columns;  // of its grid
  std::uint64_t block_rows, block_columns;  // that share a scale; the last ones may have fewer
};

using Shape = std::vector<std::uint64_t>;

// One scale for all.
ScaleGrid single_scale(const Shape& weight);
// One for each block of that size, if the scales have the shape for it: that of the weight but for the last two
// dimensions, which are divided by the block's and rounded up.
std::optional<ScaleGrid> blocks_of(const Shape& weight, const Shape& scales, std::uint64_t block_rows,
                                   std::uint64_t block_columns);
// The block is what a grid leaves that divides the weight's last two dimensions.
std::optional<ScaleGrid> divided_by(const Shape& weight, const Shape& scales);

// The scales of a weight: the only companion with one of the `endings`. Throws kMalformed if there is none or two, or one
// beside what another method calls scales; kRefused if there are only those.
const Tensor& only_scales(const StoredWeight& stored, std::initializer_list<std::string_view> endings,
                          std::string_view of_another_method);

// Throws kMalformed unless a tensor is of one of the types.
void require_type(const Tensor& tensor, std::initializer_list<Dtype> types);
// "'x.weight_scale' [3, 1] does not fit 'x.weight' [64, 160] in blocks of 128x128", kMalformed.
Error misfit(const Tensor& scales, const Tensor& weight, const Shape& shape, std::string_view why = {});

struct ScaledWeight {
  std::string name;  // of the plain tensor
  Shape shape;
  Dtype coding;  // of the values: an 8-bit float, I8, or F4 for two to a byte, the first in the low half
  Tensor values, scales;                // scales of U8 are exponents
  std::optional<Tensor> zero_points{};  // subtracted before; one beside each scale
  ScaleGrid grid;
  // What a value less its zero point, and what the product with the scale are rounded to.
  Dtype rounding = Dtype::kF32;
  Dtype scale_rounding = Dtype::kF32;  // what scales are rounded to before
};

PlainWeight plain_scaled(ScaledWeight weight);

}  // namespace mu
