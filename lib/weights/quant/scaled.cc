// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/scaled.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/text.h"
#include "tensor/decode.h"
#include "tensor/format.h"
#include "tensor/simd.h"
#include "weights/layout.h"
#include "weights/quant/e2m1.h"
#include "weights/quant/floats.h"

namespace mu {
namespace {

// Values made at once: they stay in the second-level cache from step to step. Of rows that are longer, a piece has
// one, so that its scales are not many more than its values.
constexpr std::uint64_t kPiece = 32768;

struct Plane {
  std::uint64_t rows, columns;
};

Plane plane_of(const Shape& shape) {
  return {shape.size() < 2 ? 1 : shape[shape.size() - 2], shape.empty() ? 1 : shape.back()};
}

bool same_planes(const Shape& weight, const Shape& scales) {
  return weight.size() >= 2 && scales.size() == weight.size() &&
         std::equal(weight.begin(), weight.end() - 2, scales.begin());
}

// Calls step(value, scale) for each value, run by run of those that share a scale; `scales` begins with that of the first value,
// which is value `into` of its block.
template <typename Step>
void for_blocks(float* values, std::uint64_t count, const float* scales, std::uint64_t into,
                std::uint64_t block, Step step) {
  while (count > 0) {
    const std::uint64_t run = std::min(count, block - into);
    const float scale = *scales++;
    for (std::uint64_t i = 0; i < run; ++i) values[i] = step(values[i], scale);
    values += run;
    count -= run;
    into = 0;
  }
}

MU_SIMD void multiply(float* values, std::uint64_t count, const float* scales, std::uint64_t into,
                      std::uint64_t block) {
  for_blocks(values, count, scales, into, block, [](float value, float scale) { return value * scale; });
}

MU_SIMD void subtract(float* values, std::uint64_t count, const float* zeros, std::uint64_t into,
                      std::uint64_t block) {
  for_blocks(values, count, zeros, into, block, [](float value, float zero) { return value - zero; });
}

// A run of values, and the scales that it needs.
class Piece {
 public:
  Piece(const ScaleGrid& grid, std::uint64_t first, std::uint64_t count)
      : grid_(grid), first_(first), count_(count) {
    const std::uint64_t last = first + count - 1;
    const std::uint64_t top = row_of_scales(first), bottom = row_of_scales(last);
    const bool one_row = first / grid.columns == last / grid.columns;
    begin_ = top + (one_row ? column_of_scales(first) : 0);
    end_ = one_row ? bottom + column_of_scales(last) + 1 : bottom + grid.scale_columns;
  }

  // The scales, by their number.
  [[nodiscard]] std::uint64_t begin() const { return begin_; }
  [[nodiscard]] std::uint64_t size() const { return end_ - begin_; }

  // Takes the step row by row; `scales` are those from begin() on.
  void apply(decltype(multiply) step, std::span<float> out, std::span<const float> scales) const {
    for (std::uint64_t done = 0; done < count_;) {
      const std::uint64_t at = first_ + done;
      const std::uint64_t column = at % grid_.columns;
      const std::uint64_t run = std::min(count_ - done, grid_.columns - column);
      step(out.data() + done, run, scales.data() + (row_of_scales(at) + column_of_scales(at) - begin_),
           column % grid_.block_columns, grid_.block_columns);
      done += run;
    }
  }

 private:
  // Number of the first scale of the row.
  [[nodiscard]] std::uint64_t row_of_scales(std::uint64_t at) const {
    const std::uint64_t row = at / grid_.columns;
    const std::uint64_t scale_row = row / grid_.rows * grid_.scale_rows + row % grid_.rows / grid_.block_rows;
    return scale_row * grid_.scale_columns;
  }
  [[nodiscard]] std::uint64_t column_of_scales(std::uint64_t at) const {
    return at % grid_.columns / grid_.block_columns;
  }

  const ScaleGrid& grid_;
  std::uint64_t first_, count_, begin_ = 0, end_ = 0;
};

void read_values(const Sources& sources, Dtype coding, std::uint64_t first, std::span<float> out) {
  if (coding != Dtype::kF4) return decode(coding, read_bytes(sources, 0, first, out.size()), out);
  constexpr std::array<float, 1> kNone = {1.0F};
  const std::uint64_t begin = first / 2, end = (first + out.size() + 1) / 2;
  kE2m1.read(read_bytes(sources, 0, begin, static_cast<std::size_t>(end - begin)), first, kNone,
             std::numeric_limits<std::uint64_t>::max(), out);
}

// What is known of a weight when its values are made.
struct Recipe {
  ScaleGrid grid;
  Dtype coding, rounding, scale_rounding;
  bool powers, zeros;  // scales are exponents; there are zero points

  void fill(const Sources& sources, std::uint64_t first, std::span<float> out) const {
    while (!out.empty()) {
      std::uint64_t count = std::min<std::uint64_t>(out.size(), kPiece);
      if (grid.columns >= kPiece) count = std::min(count, grid.columns - first % grid.columns);
      fill_piece(sources, first, out.first(static_cast<std::size_t>(count)));
      out = out.subspan(static_cast<std::size_t>(count));
      first += count;
    }
  }

  void fill_piece(const Sources& sources, std::uint64_t first, std::span<float> out) const {
    thread_local std::vector<float> scales;
    const Piece piece(grid, first, out.size());
    scales.resize(static_cast<std::size_t>(piece.size()));
    read_values(sources, coding, first, out);
    if (zeros) {
      read_floats(sources, 2, piece.begin(), scales);
      round_floats(rounding, scales);
      piece.apply(subtract, out, scales);
      round_floats(rounding, out);
    }
    (powers ? read_powers : read_floats)(sources, 1, piece.begin(), scales);
    round_floats(scale_rounding, scales);
    piece.apply(multiply, out, scales);
    round_floats(rounding, out);
  }
};

}  // namespace

ScaleGrid single_scale(const Shape& weight) {
  const Plane plane = plane_of(weight);
  const std::uint64_t rows = plane.columns == 0 ? 0 : element_count(weight).value_or(0) / plane.columns;
  return {
      rows, plane.columns, 1, 1, std::max<std::uint64_t>(rows, 1), std::max<std::uint64_t>(plane.columns, 1)};
}

std::optional<ScaleGrid> blocks_of(const Shape& weight, const Shape& scales, std::uint64_t block_rows,
                                   std::uint64_t block_columns) {
  const auto blocks = [](std::uint64_t size, std::uint64_t block) {
    return size / block + (size % block == 0 ? 0 : 1);
  };
  if (!same_planes(weight, scales) || block_rows == 0 || block_columns == 0) return std::nullopt;
  const Plane plane = plane_of(weight), grid = plane_of(scales);
  if (grid.rows != blocks(plane.rows, block_rows) || grid.columns != blocks(plane.columns, block_columns))
    return std::nullopt;
  return ScaleGrid{plane.rows, plane.columns, grid.rows, grid.columns, block_rows, block_columns};
}

std::optional<ScaleGrid> divided_by(const Shape& weight, const Shape& scales) {
  if (!same_planes(weight, scales)) return std::nullopt;
  const Plane plane = plane_of(weight), grid = plane_of(scales);
  if (grid.rows == 0 || grid.columns == 0 || plane.rows % grid.rows != 0 || plane.columns % grid.columns != 0)
    return std::nullopt;
  return blocks_of(weight, scales, plane.rows / grid.rows, plane.columns / grid.columns);
}

const Tensor& only_scales(const StoredWeight& stored, std::initializer_list<std::string_view> endings,
                          std::string_view of_another_method) {
  const Tensor* scales = nullptr;
  const Tensor* const foreign = stored.find(of_another_method);
  const auto take = [&](const Tensor* found) {
    if (found == nullptr) return;
    if (scales != nullptr)
      throw malformed(fmt::format("'{}' has two scales: '{}' and '{}'", escape_name(stored.weight->name),
                                  escape_name(scales->name), escape_name(found->name)));
    scales = found;
  };
  for (const std::string_view ending : endings) take(stored.find(ending));
  if (scales == nullptr && foreign != nullptr)
    throw refused(
        fmt::format("by the config, '{}' should have '{}', but it has '{}', which is another method's",
                    escape_name(stored.weight->name),
                    escape_name(stored.module + std::string(*endings.begin())), escape_name(foreign->name)));
  take(foreign);
  return scales != nullptr ? *scales : stored.require(*endings.begin());
}

void require_type(const Tensor& tensor, std::initializer_list<Dtype> types) {
  if (std::find(types.begin(), types.end(), tensor.dtype) != types.end()) return;
  std::string wanted;
  for (const Dtype type : types) wanted += (wanted.empty() ? "" : ", ") + std::string(name(type));
  throw malformed(fmt::format("'{}' is {}; it should be {}{}", escape_name(tensor.name), type_name(tensor),
                              types.size() > 1 ? "one of " : "", wanted));
}

Error misfit(const Tensor& scales, const Tensor& weight, const Shape& shape, std::string_view why) {
  return malformed(fmt::format("'{}' {} does not fit '{}' {}{}{}", escape_name(scales.name),
                               shape_text(scales.shape), escape_name(weight.name), shape_text(shape),
                               why.empty() ? "" : " ", why));
}

PlainWeight plain_scaled(ScaledWeight weight) {
  const Recipe recipe{weight.grid,
                      weight.coding,
                      weight.rounding,
                      weight.scale_rounding,
                      weight.scales.dtype == Dtype::kU8,
                      weight.zero_points.has_value()};
  std::vector<Tensor> sources{std::move(weight.values), std::move(weight.scales)};
  if (weight.zero_points) sources.push_back(std::move(*weight.zero_points));
  return {std::move(weight.name), std::move(weight.shape), std::move(sources),
          [recipe](const Sources& from, std::uint64_t first, std::span<float> out) {
            recipe.fill(from, first, out);
          }};
}

}  // namespace mu
