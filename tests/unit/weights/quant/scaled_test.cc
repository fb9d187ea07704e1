// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/scaled.h"

#include <doctest/doctest.h>

#include <random>

#include "base/bytes.h"

using namespace mu;

namespace {

// Integers and scales in memory, and the values they make by the formula.
struct Model {
  Shape shape;
  std::vector<std::int8_t> values;
  std::vector<float> scales, plain;
  ScaleGrid grid;

  Model(std::mt19937& random, const Shape& planes, std::uint64_t block_rows, std::uint64_t block_columns)
      : shape(planes) {
    const std::uint64_t rows = shape[1], columns = shape[2];
    Shape scale_shape = {shape[0], (rows + block_rows - 1) / block_rows,
                         (columns + block_columns - 1) / block_columns};
    grid = blocks_of(shape, scale_shape, block_rows, block_columns).value();
    values.resize(element_count(shape).value());
    scales.resize(element_count(scale_shape).value());
    for (std::int8_t& value : values) value = static_cast<std::int8_t>(random());
    for (float& scale : scales) scale = static_cast<float>(random() % 1000) / 7;
    for (std::uint64_t i = 0; i < values.size(); ++i) {
      const std::uint64_t plane = i / columns / rows, row = i / columns % rows, column = i % columns;
      const std::uint64_t scale_row = plane * scale_shape[1] + row / block_rows;
      plain.push_back(static_cast<float>(values[i]) *
                      scales[scale_row * scale_shape[2] + column / block_columns]);
    }
  }

  // Elements [first, first + count) as plain_scaled makes them.
  [[nodiscard]] std::vector<float> read(std::uint64_t first, std::uint64_t count) const {
    const std::span<const std::byte> bytes[] = {std::as_bytes(std::span(values)),
                                                std::as_bytes(std::span(scales))};
    const PlainWeight weight =
        plain_scaled({.name = "x",
                      .shape = shape,
                      .coding = Dtype::kI8,
                      .values = {"x", Dtype::kI8, shape, 0, 0, bytes[0].size()},
                      .scales = {"s", Dtype::kF32, {scales.size()}, 1, 0, bytes[1].size()},
                      .grid = grid});
    const ReadSource source = [&](std::uint32_t which, std::uint64_t at, std::span<std::byte> out) {
      REQUIRE(at + out.size() <= bytes[which].size());
      std::memcpy(out.data(), bytes[which].data() + at, out.size());
    };
    std::vector<float> out(static_cast<std::size_t>(count));
    weight.values(Sources(weight.sources, source), first, out);
    return out;
  }
};

}  // namespace

TEST_CASE("scaled: any stretch is what the formula says, of short rows and of rows longer than a piece") {
  std::mt19937 random(25);
  const struct {
    Shape shape;
    std::uint64_t rows, columns;
  } models[] = {{{2, 300, 200}, 128, 128}, {{1, 3, 70000}, 2, 128}, {{1, 2, 40000}, 1, 1},
                {{3, 5, 7}, 2, 3},         {{1, 9000, 8}, 1, 8},    {{1, 5, 32768}, 1, 32768},
                {{4, 1, 1}, 1, 1}};
  for (const auto& [shape, rows, columns] : models) {
    const Model model(random, shape, rows, columns);
    const std::uint64_t all = model.plain.size();
    CHECK(model.read(0, all) == model.plain);
    for (int i = 0; i < 50; ++i) {
      const std::uint64_t first = random() % all, count = random() % (all - first + 1);
      const auto begin = model.plain.begin() + static_cast<std::ptrdiff_t>(first);
      CHECK(model.read(first, count) ==
            std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count)));
    }
  }
}

TEST_CASE("scaled: grids") {
  CHECK(blocks_of({160, 64}, {2, 1}, 128, 128));
  CHECK_FALSE(blocks_of({160, 64}, {1, 1}, 128, 128));
  CHECK_FALSE(blocks_of({160, 64}, {2}, 128, 128));
  CHECK_FALSE(blocks_of({2, 160, 64}, {1, 2, 1}, 128, 128));
  CHECK_FALSE(blocks_of({160, 64}, {2, 1}, 0, 128));
  CHECK(blocks_of({160, 64}, {1, 1}, 1ULL << 63, ~0ULL));
  CHECK(divided_by({160, 64}, {2, 4})->block_rows == 80);
  CHECK_FALSE(divided_by({160, 64}, {3, 4}));
  CHECK_FALSE(divided_by({160, 64}, {0, 4}));
}
