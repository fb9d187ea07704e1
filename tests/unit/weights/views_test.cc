// SPDX-License-Identifier: Apache-2.0
#include "weights/views.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "testing.h"
#include "weights/cuts.h"
#include "weights/gather.h"

using namespace mu;
using namespace mu::testing;

namespace {

using Values = std::vector<std::uint16_t>;

// What a view must be, made the slow way.
struct Array {
  Shape shape;
  Values values;
};

std::size_t count_of(const Shape& shape) {
  return element_count(shape).value();
}

// An array of that shape whose element at each index comes from `at(index)`.
template <typename At>
Array fill(const Shape& shape, At at) {
  Array array{shape, Values(count_of(shape))};
  Shape index(shape.size());
  for (std::size_t n = 0; n < array.values.size(); ++n) {
    std::size_t rest = n;
    for (std::size_t i = shape.size(); i-- > 0;) {
      index[i] = rest % shape[i];
      rest /= shape[i];
    }
    array.values[n] = at(index);
  }
  return array;
}

std::uint16_t at(const Array& array, const Shape& index) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < index.size(); ++i) n = n * array.shape[i] + index[i];
  return array.values[n];
}

// Tensors over files in memory.
class Files {
 public:
  explicit Files(std::mt19937& random) : random_(random) {}

  struct Made {
    Tensor tensor;
    Array array;
  };

  // Plain, in pieces, with its bytes swapped, or computed.
  Made make(const Shape& shape) {
    Made made;
    switch (random_() % 4) {
      case 0: {
        Cut cut = cut_at_random(random_, shape);
        for (Box& box : cut.layout.boxes) box.source += static_cast<std::uint32_t>(files_.size());
        for (Values& file : cut.files) files_.push_back(std::move(file));
        made.tensor = cut.tensor;
        made.tensor.layout = std::make_shared<Layout>(cut.layout);
        made.array = fill(shape, [n = std::uint16_t{0}](const Shape&) mutable { return n++; });
        break;
      }
      case 1:
        made = plain(shape);
        made.tensor.layout = swapped(made.tensor);
        for (std::uint16_t& value : made.array.values) value = __builtin_bswap16(value);
        break;
      case 2:
        made = plain(shape);
        made.tensor.layout = computed(made.array);
        break;
      default:
        made = plain(shape);
    }
    return made;
  }

  Made plain(const Shape& shape) {
    Made made{{"t", Dtype::kU16, shape, static_cast<std::uint32_t>(files_.size()), 4, 2 * count_of(shape)},
              fill(shape, [this](const Shape&) { return static_cast<std::uint16_t>(random_()); })};
    Values file(made.array.values.size() + 2);
    std::copy(made.array.values.begin(), made.array.values.end(), file.begin() + 2);
    files_.push_back(std::move(file));
    return made;
  }

  [[nodiscard]] Values read(const Tensor& tensor) const {
    Values values(tensor.size / 2);
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
    const auto source = [this](std::uint32_t from, std::uint64_t offset, std::span<std::byte> out) {
      REQUIRE(offset + out.size() <= 2 * files_.at(from).size());
      std::memcpy(out.data(), reinterpret_cast<const char*>(files_[from].data()) + offset, out.size());
    };
    if (tensor.layout)
      gather(tensor, 0, bytes, source);
    else
      source(tensor.source, tensor.offset, bytes);
    std::size_t done = 0;  // where bytes can be copied, the runs say the same
    for (const ByteRange& range : byte_ranges(tensor)) {
      std::vector<std::byte> copy(range.size);
      source(range.source, range.offset, copy);
      CHECK(std::memcmp(copy.data(), bytes.data() + done, range.size) == 0);
      done += range.size;
    }
    CHECK((done == 0 || done == tensor.size));
    return values;
  }

 private:
  static std::shared_ptr<const Layout> swapped(const Tensor& tensor) {
    Layout layout;
    layout.shape = tensor.shape;
    layout.swap_bytes = true;
    layout.boxes = {{tensor.source, tensor.offset, Shape(tensor.shape.size(), 0), tensor.shape,
                     row_major_strides(tensor.shape)}};
    return std::make_shared<Layout>(std::move(layout));
  }

  static std::shared_ptr<const Layout> computed(const Array& array) {
    Layout layout;
    layout.compute = [values = array.values](const Sources&, std::uint64_t from, std::span<std::byte> out) {
      REQUIRE(from + out.size() <= 2 * values.size());
      std::memcpy(out.data(), reinterpret_cast<const char*>(values.data()) + from, out.size());
    };
    return std::make_shared<Layout>(std::move(layout));
  }

  std::mt19937& random_;
  std::vector<Values> files_;
};

Shape with(Shape index, std::size_t dim, std::uint64_t value) {
  index.insert(index.begin() + static_cast<std::ptrdiff_t>(dim), value);
  return index;
}

Shape without(Shape index, std::size_t dim) {
  index.erase(index.begin() + static_cast<std::ptrdiff_t>(dim));
  return index;
}

// One of the operations that join, on a tensor and on its array.
void join(Files& files, Files::Made& made, std::mt19937& random) {
  const Array old = made.array;
  const std::size_t dim = old.shape.empty() ? 0 : random() % old.shape.size();
  if (old.shape.empty() || random() % 2 == 0) {
    const Files::Made other = files.make(old.shape);
    made.tensor = stack(std::vector{made.tensor, other.tensor}, dim);
    made.array = fill(with(old.shape, dim, 2), [&](const Shape& index) {
      return at(index[dim] == 0 ? old : other.array, without(index, dim));
    });
    return;
  }
  Shape shape = old.shape;
  shape[dim] = random() % 4;
  const Files::Made other = files.make(shape);
  const bool first = random() % 2 == 0;
  made.tensor = concatenate(
      first ? std::vector{other.tensor, made.tensor} : std::vector{made.tensor, other.tensor}, dim);
  const Array& left = first ? other.array : old;
  const Array& right = first ? old : other.array;
  shape[dim] += old.shape[dim];
  made.array = fill(shape, [&](Shape index) {
    if (index[dim] < left.shape[dim]) return at(left, index);
    index[dim] -= left.shape[dim];
    return at(right, index);
  });
}

// One of those that take a part.
void cut(Files::Made& made, std::mt19937& random) {
  const Array old = made.array;
  const std::size_t dim = random() % old.shape.size();
  const std::uint64_t begin = random() % old.shape[dim], count = 1 + random() % (old.shape[dim] - begin);
  if (random() % 2 == 0) {
    made.tensor = select(made.tensor, dim, begin);
    made.array =
        fill(without(old.shape, dim), [&](const Shape& rest) { return at(old, with(rest, dim, begin)); });
    return;
  }
  made.tensor = slice(made.tensor, dim, begin, count);
  Shape shape = old.shape;
  shape[dim] = count;
  made.array = fill(shape, [&](Shape index) {
    index[dim] += begin;
    return at(old, index);
  });
}

// One of those that change the order.
void turn(Files::Made& made, std::mt19937& random) {
  const Array old = made.array;
  const std::size_t dim = random() % old.shape.size(), other = random() % old.shape.size();
  const std::uint64_t size = old.shape[dim];
  switch (random() % 3) {
    case 0: {
      made.tensor = transpose(made.tensor, dim, other);
      Shape shape = old.shape;
      std::swap(shape[dim], shape[other]);
      made.array = fill(shape, [&](Shape index) {
        std::swap(index[dim], index[other]);
        return at(old, index);
      });
      return;
    }
    case 1:
      made.array.shape = with(old.shape, dim, size % 2 == 0 ? 2 : 1);
      made.array.shape[dim + 1] = size % 2 == 0 ? size / 2 : size;
      made.tensor = reshape(made.tensor, made.array.shape);
      return;
    default: {
      const std::uint64_t groups = size % 2 == 0 ? 2 : 1;
      const std::uint64_t parts = size / groups % 3 == 0 ? 3 : 1, each = size / groups / parts;
      made.tensor = interleave(made.tensor, dim, groups, parts);
      made.array = fill(old.shape, [&](Shape index) {
        const std::uint64_t group = index[dim] / (parts * each), rest = index[dim] % (parts * each);
        index[dim] = group * parts * each + rest % parts * each + rest / parts;
        return at(old, index);
      });
    }
  }
}

}  // namespace

TEST_CASE("views: any operations in any order give what a plain array gives") {
  std::mt19937 random(5);
  for (int round = 0; round < 1500; ++round) {
    CAPTURE(round);
    Files files(random);
    Shape shape(1 + random() % 3);
    for (std::uint64_t& n : shape) n = 1 + random() % 6;
    Files::Made made = files.make(shape);
    const std::uint64_t steps = random() % 6;
    for (std::uint64_t step = 0; step < steps && made.array.values.size() < 3000; ++step) {
      const std::uint64_t kind = made.array.shape.empty() ? 0 : random() % 7;
      if (kind < 2)
        join(files, made, random);
      else if (kind < 4)
        cut(made, random);
      else
        turn(made, random);
      REQUIRE(made.tensor.shape == made.array.shape);
      REQUIRE(made.tensor.size == 2 * made.array.values.size());
      REQUIRE(files.read(made.tensor) == made.array.values);
    }
  }
}

TEST_CASE("views: what is one run of bytes is a plain tensor") {
  const Tensor experts{"e", Dtype::kBF16, {4, 6, 5}, 3, 100, 240};
  const Tensor up = select(slice(experts, 1, 3, 3), 0, 2);
  CHECK(up.layout == nullptr);
  CHECK(up.source == 3);
  CHECK(up.offset == 100 + (2 * 6 + 3) * 5 * 2);
  CHECK(up.shape == Shape{3, 5});
  CHECK(up.size == 30);
  const Tensor whole = concatenate(std::vector{slice(experts, 0, 0, 1), slice(experts, 0, 1, 3)}, 0);
  CHECK(whole.layout == nullptr);
  CHECK(whole.offset == 100);
  CHECK(transpose(transpose(experts, 0, 2), 0, 2).layout == nullptr);
  // A part of a tensor of several ranks that lies in one of the files.
  Layout layout;
  layout.shape = {4};
  layout.boxes = {{0, 10, {0}, {2}, {1}}, {1, 20, {2}, {2}, {1}}};
  const Tensor ranks{"r", Dtype::kU8, {2, 2}, 0, 10, 4, std::make_shared<Layout>(layout)};
  const Tensor second = select(ranks, 0, 1);
  CHECK(second.layout == nullptr);
  CHECK(second.source == 1);
  CHECK(second.offset == 20);
}

TEST_CASE("views: several values in a byte are cut between bytes or refused") {
  const Tensor packed{"p", Dtype::kF4, {3, 2, 6}, 0, 0, 18};
  const Tensor row = select(packed, 0, 1);
  CHECK(row.offset == 6);
  CHECK(row.size == 6);
  CHECK(row.shape == Shape{2, 6});
  const Tensor part = slice(packed, 2, 2, 4);
  CHECK(part.size == 12);
  CHECK(part.layout != nullptr);
  CHECK(concatenate(std::vector{part, part}, 1).size == 24);
  CHECK(stack(std::vector{row, row}, 0).shape == Shape{2, 2, 6});
  CHECK(error_of([&] { slice(packed, 2, 1, 4); }) == ErrorKind::kMalformed);
  CHECK(error_of([&] { transpose(packed, 1, 2); }) == ErrorKind::kMalformed);
  CHECK(error_of([&] { select(packed, 2, 0); }) == ErrorKind::kMalformed);
  auto blocks = std::make_shared<Layout>();
  blocks->type = "q4_0";
  const Tensor foreign{"q", Dtype::kForeign, {4, 64}, 0, 8, 4 * 36, blocks};
  const Tensor lower = slice(foreign, 0, 2, 2);
  CHECK(lower.size == 72);
  CHECK(lower.offset == 80);
  CHECK(type_text(lower) == "q4_0");
  CHECK(byte_ranges(lower).size() == 1);
  CHECK(error_of([&] { slice(foreign, 1, 0, 32); }) == ErrorKind::kMalformed);
}

TEST_CASE("views: what does not fit is malformed") {
  const Tensor a{"a", Dtype::kF32, {2, 3}, 0, 0, 24};
  const Tensor other_type{"b", Dtype::kI32, {2, 3}, 0, 0, 24};
  const Tensor other_shape{"c", Dtype::kF32, {2, 4}, 0, 0, 32};
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  const Tensor huge{"h", Dtype::kF32, {kMost, 0}, 0, 0, 0};
  const auto refused = [](auto action) { return error_of(action) == ErrorKind::kMalformed; };
  CHECK(refused([&] { concatenate(std::vector{a, other_type}, 0); }));
  CHECK(refused([&] { concatenate(std::vector{a, other_shape}, 0); }));
  CHECK(concatenate(std::vector{a, other_shape}, 1).shape == Shape{2, 7});
  CHECK(refused([&] { stack(std::vector{a, other_shape}, 0); }));
  CHECK(refused([&] { concatenate(std::vector{huge, huge}, 0); }));
  CHECK(refused([&] { stack(std::vector{huge, huge}, 0); }));
  CHECK(refused([&] { slice(a, 0, 1, 2); }));
  CHECK(refused([&] { slice(a, 0, 1, kMost); }));
  CHECK(refused([&] { select(a, 0, 2); }));
  CHECK(refused([&] { select(a, 2, 0); }));
  CHECK(refused([&] { transpose(a, 0, 2); }));
  CHECK(refused([&] { reshape(a, {5}); }));
  CHECK(refused([&] { interleave(a, 1, 1, 2); }));
  CHECK(refused([&] { interleave(a, 0, kMost, 2); }));
  CHECK(select(huge, 0, 7).shape == Shape{0});
}
