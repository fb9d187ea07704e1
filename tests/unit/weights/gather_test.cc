// SPDX-License-Identifier: Apache-2.0
#include "weights/gather.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "testing.h"
#include "weights/cuts.h"
#include "weights/ranks/tiling.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE("gather: any boxes with any strides, any stretch") {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    Shape shape(random() % 4);
    for (std::uint64_t& n : shape) n = 1 + random() % 9;
    Cut cut = cut_at_random(random, shape);
    check_tiling("t", shape, cut.layout.boxes);
    cut.tensor.layout = std::make_shared<Layout>(cut.layout);
    const auto read = [&cut](std::uint32_t source, std::uint64_t offset, std::span<std::byte> out) {
      REQUIRE(offset + out.size() <= 2 * cut.files.at(source).size());
      std::memcpy(out.data(), reinterpret_cast<const char*>(cut.files[source].data()) + offset, out.size());
    };
    std::vector<std::uint16_t> expected(cut.tensor.size / 2);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<std::uint16_t>(i);
    for (int stretch = 0; stretch < 5; ++stretch) {
      const std::uint64_t at = stretch == 0 ? 0 : random() % cut.tensor.size;
      const std::uint64_t size = stretch == 0 ? cut.tensor.size : random() % (cut.tensor.size - at) + 1;
      std::vector<std::byte> got(size);
      gather(cut.tensor, at, got, read);
      CHECK(std::memcmp(got.data(), reinterpret_cast<const char*>(expected.data()) + at, size) == 0);
    }
    // Where the bytes are runs of files, the runs say the same.
    std::vector<std::byte> joined;
    for (const ByteRange& range : byte_ranges(cut.tensor)) {
      std::vector<std::byte> bytes(range.size);
      read(range.source, range.offset, bytes);
      joined.insert(joined.end(), bytes.begin(), bytes.end());
    }
    if (!joined.empty()) CHECK(std::memcmp(joined.data(), expected.data(), cut.tensor.size) == 0);
  }
}

TEST_CASE("gather: a large transposed tensor, wider than any window") {
  constexpr std::uint64_t kRows = 3000, kColumns = 1500;
  std::vector<std::uint16_t> file(kRows * kColumns);
  for (std::size_t i = 0; i < file.size(); ++i) file[i] = static_cast<std::uint16_t>(i * 7);
  Layout layout;
  layout.shape = {kColumns, kRows};
  layout.boxes = {{0, 0, {0, 0}, layout.shape, {1, kColumns}}};
  const Tensor tensor{
      "t", Dtype::kU16, layout.shape, 0, 0, 2 * file.size(), std::make_shared<Layout>(layout)};
  std::vector<std::byte> out(2 * file.size());
  for (std::uint64_t at = 0; at < out.size(); at += 1U << 20) {
    gather(tensor, at, std::span(out).subspan(at, std::min<std::size_t>(1U << 20, out.size() - at)),
           [&file](std::uint32_t, std::uint64_t offset, std::span<std::byte> bytes) {
             REQUIRE(offset + bytes.size() <= 2 * file.size());
             std::memcpy(bytes.data(), reinterpret_cast<const char*>(file.data()) + offset, bytes.size());
           });
  }
  bool same = true;
  for (std::uint64_t r = 0; r < kColumns; ++r) {
    for (std::uint64_t c = 0; c < kRows; ++c)
      same = same && load_le<std::uint16_t>(out.data() + 2 * (r * kRows + c)) == file[c * kColumns + r];
  }
  CHECK(same);
}

namespace {

// Values of u16 in one file; how often it was read, and how many bytes.
struct Counted {
  std::vector<std::uint16_t> file;
  std::uint64_t reads = 0, bytes = 0;

  explicit Counted(std::size_t count) : file(count) {
    for (std::size_t i = 0; i < count; ++i) file[i] = static_cast<std::uint16_t>(i * 31);
  }

  // Reads a tensor of these boxes, in stretches of `step` bytes.
  std::vector<std::uint16_t> read(const Shape& shape, std::vector<Box> boxes, std::size_t step = 1U << 20) {
    Layout layout;
    layout.shape = shape;
    layout.boxes = std::move(boxes);
    Tensor tensor{"t", Dtype::kU16, shape, 0, 0, 2 * element_count(shape).value()};
    tensor.layout = std::make_shared<Layout>(std::move(layout));
    std::vector<std::uint16_t> out(element_count(shape).value());
    const std::span<std::byte> all = std::as_writable_bytes(std::span(out));
    reads = bytes = 0;
    for (std::size_t at = 0; at < all.size(); at += step)
      gather(tensor, at, all.subspan(at, std::min(step, all.size() - at)),
             [&](std::uint32_t, std::uint64_t offset, std::span<std::byte> part) {
               REQUIRE(offset + part.size() <= 2 * file.size());
               std::memcpy(part.data(), reinterpret_cast<const char*>(file.data()) + offset, part.size());
               ++reads;
               bytes += part.size();
             });
    return out;
  }
};

}  // namespace

TEST_CASE("gather: what lies a little apart is one read, what lies far apart is read alone") {
  // One of many columns: an expert's part of a factor.
  constexpr std::uint64_t kRows = 4000, kNear = 500, kFar = 3000, kColumn = 7;
  for (const std::uint64_t columns : {kNear, kFar}) {
    Counted counted(kRows * columns);
    for (const std::size_t step : {1U << 20, 1000U}) {
      const std::vector<std::uint16_t> got =
          counted.read({kRows}, {{0, 2 * kColumn, {0}, {kRows}, {columns}}}, step);
      bool same = true;
      for (std::uint64_t row = 0; row < kRows; ++row)
        same = same && got[row] == counted.file[row * columns + kColumn];
      CHECK(same);
      CHECK(counted.reads == (columns == kFar ? kRows : step == 1000 ? 8 : 4));
      CHECK(counted.bytes <= 2 * counted.file.size());
    }
  }
}

TEST_CASE("gather: transposed pieces beside one another, whose rows are short runs") {
  constexpr std::uint64_t kRows = 700, kColumns = 6;
  Counted counted(2 * kRows * kColumns);
  const std::uint64_t second = 2 * kRows * kColumns;  // bytes
  for (const std::size_t step : {1U << 20, 998U, 2U}) {
    const std::vector<std::uint16_t> got =
        counted.read({kRows, 2 * kColumns},
                     {{0, 0, {0, 0}, {kRows, kColumns}, {1, kRows}},
                      {0, second, {0, kColumns}, {kRows, kColumns}, {1, kRows}}},
                     step);
    bool same = true;
    for (std::uint64_t row = 0; row < kRows; ++row) {
      for (std::uint64_t c = 0; c < 2 * kColumns; ++c)
        same = same && got[row * 2 * kColumns + c] == counted.file[c * kRows + row];
    }
    CHECK(same);
    if (step > 1000) CHECK(counted.reads == 2);
  }
}

TEST_CASE("tiling: overlaps and holes") {
  const auto error = [](const Shape& shape, const std::vector<Box>& boxes) {
    return error_of([&] { check_tiling("t", shape, boxes); });
  };
  const auto box = [](Shape begin, Shape size) { return Box{0, 0, std::move(begin), std::move(size), {}}; };
  CHECK_FALSE(error({}, {box({}, {})}).has_value());
  CHECK_FALSE(
      error({4, 6}, {box({0, 0}, {2, 6}), box({2, 0}, {2, 3}), box({2, 3}, {2, 3}), box({4, 0}, {0, 6})})
          .has_value());
  CHECK(error({4, 6}, {box({0, 0}, {2, 6}), box({2, 0}, {2, 3})}) == ErrorKind::kMalformed);
  CHECK(error({4, 6}, {box({0, 0}, {4, 3}), box({1, 2}, {4 - 1, 4})}) == ErrorKind::kMalformed);
  CHECK(error({4}, {box({0}, {3}), box({2}, {1})}) == ErrorKind::kMalformed);
}

TEST_CASE("gather: rows and columns exchanged, elements of every size, sides that squares don't fit") {
  std::mt19937 random(3);
  for (const Dtype dtype : {Dtype::kU8, Dtype::kF16, Dtype::kI32, Dtype::kF64}) {
    const std::size_t element = bits(dtype) / 8;
    for (const std::uint64_t rows : {1, 16, 37, 128}) {
      for (const std::uint64_t columns : {1, 15, 32, 53}) {
        std::vector<std::byte> file(rows * columns * element);
        for (std::byte& byte : file) byte = static_cast<std::byte>(random());
        Layout layout;
        layout.shape = {columns, rows};
        layout.boxes = {{0, 0, {0, 0}, layout.shape, {1, columns}}};
        const Tensor tensor{"t", dtype, layout.shape, 0, 0, file.size(), std::make_shared<Layout>(layout)};
        std::vector<std::byte> out(file.size());
        gather(tensor, 0, out, [&](std::uint32_t, std::uint64_t offset, std::span<std::byte> bytes) {
          std::copy_n(file.begin() + static_cast<std::ptrdiff_t>(offset), bytes.size(), bytes.begin());
        });
        for (std::uint64_t c = 0; c < columns; ++c) {
          for (std::uint64_t r = 0; r < rows; ++r)
            REQUIRE(std::memcmp(&out[(c * rows + r) * element], &file[(r * columns + c) * element],
                                element) == 0);
        }
      }
    }
  }
}
