// SPDX-License-Identifier: Apache-2.0
#include "weights/leaves.h"

#include <doctest/doctest.h>

#include <cstring>

#include "testing.h"
#include "weights/computed.h"
#include "weights/views.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::vector<FarRange> far_leaves(const Weights& weights, const Tensor& tensor) {
  std::vector<FarRange> ranges;
  add_far_leaves(weights, tensor, ranges);
  return without_overlaps(std::move(ranges));
}

using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // offset, size

// A set of two files on other machines, of a MiB each, that notes what is read of the first.
struct Far {
  Weights weights;
  std::shared_ptr<Ranges> read = std::make_shared<Ranges>();

  explicit Far(const std::string& name) {
    const auto note = [read = read](std::uint64_t offset, std::span<std::byte> out) {
      read->emplace_back(offset, out.size());
      std::memset(out.data(), 0, out.size());
    };
    const auto forget = [](std::uint64_t, std::span<std::byte> out) {
      std::memset(out.data(), 0, out.size());
    };
    mount_far(name, {{"a", {1U << 20, note}}, {"b", {1U << 20, forget}}});
    for (const char* const file : {"/a", "/b"})
      weights.files.push_back(
          {.name = name + file, .file = InputFile(name + file), .size = 1U << 20, .metadata = {}});
  }

  [[nodiscard]] Ranges leaves(const Tensor& tensor, std::uint32_t file = 0) const {
    Ranges ranges;
    for (const FarRange& range : far_leaves(weights, tensor)) {
      if (range.file == weights.files[file].file->far()) ranges.emplace_back(range.offset, range.size);
    }
    return ranges;
  }

  // Whether every byte that is read for the tensor is one of its leaves.
  bool are_all_leaves(const Tensor& tensor) {
    read->clear();
    std::vector<std::byte> out(tensor.size);
    weights.read(tensor, 0, out);
    const Ranges ranges = leaves(tensor);
    return std::all_of(read->begin(), read->end(), [&](const auto& one) {
      return std::any_of(ranges.begin(), ranges.end(), [&](const auto& range) {
        return range.first <= one.first && one.first + one.second <= range.first + range.second;
      });
    });
  }
};

Tensor plain(std::vector<std::uint64_t> shape, std::uint64_t offset, std::uint32_t file = 0) {
  Tensor tensor{"t", Dtype::kF32, std::move(shape), file, offset, 0};
  tensor.size = 4 * tensor.element_count();
  return tensor;
}

}  // namespace

TEST_CASE("leaves: a plain tensor is one range, and one on this machine is none") {
  const Far far("hf://leaves/plain");
  CHECK(far.leaves(plain({10, 10}, 1000)) == Ranges{{1000, 400}});
  CHECK(far.leaves(plain({0, 10}, 1000)).empty());
  Weights near;
  near.files.emplace_back().name = "here";
  CHECK(far_leaves(near, plain({10, 10}, 0)).empty());
}

TEST_CASE("leaves: a view needs its part alone, also through tensors in which it lies") {
  Far far("hf://leaves/views");
  const Tensor expert = select(plain({8, 100, 100}, 500), 0, 3);
  CHECK(far.leaves(expert) == Ranges{{500 + 3 * 40000, 40000}});
  const std::vector<Tensor> three = {plain({100, 100}, 0), plain({100, 100}, 100'000, 1),
                                     plain({100, 100}, 500'000)};
  const Tensor stacked = stack(three, 0);
  CHECK(far.leaves(stacked) == Ranges{{0, 40000}, {500'000, 40000}});
  CHECK(far.leaves(stacked, 1) == Ranges{{100'000, 40000}});
  CHECK(far.leaves(select(stacked, 0, 2)) == Ranges{{500'000, 40000}});
  // Of a computed tensor all is needed; of a stack that it is in, only of those that are asked for.
  const Tensor made = computed(
      "m", Dtype::kF32, {100, 100}, {three[0], three[2]},
      [](const Sources& sources, std::uint64_t at, std::span<std::byte> out) { sources.read(0, at, out); });
  CHECK(far.leaves(made) == Ranges{{0, 40000}, {500'000, 40000}});
  const std::vector<Tensor> mixed = {made, plain({100, 100}, 900'000)};
  CHECK(far.leaves(select(stack(mixed, 0), 0, 1)) == Ranges{{900'000, 40000}});
  CHECK(far.leaves(slice(stack(mixed, 0), 1, 5, 1)) == Ranges{{0, 40000}, {500'000, 40000}, {900'000, 2400}});
  CHECK(far.are_all_leaves(stack(mixed, 2)));
}

TEST_CASE("leaves: strides are followed where what lies between costs more than a request") {
  Far far("hf://leaves/strides");
  const Tensor wide = plain({4, 50'000}, 64);  // rows of 200,000 bytes
  CHECK(far.leaves(slice(wide, 1, 10, 5)) == Ranges{{104, 20}, {200'104, 20}, {400'104, 20}, {600'104, 20}});
  CHECK(far.are_all_leaves(slice(wide, 1, 10, 5)));
  const Tensor narrow = plain({100, 1000}, 64);
  CHECK(far.leaves(slice(narrow, 1, 10, 5)) == Ranges{{104, 99 * 4000 + 20}});
  CHECK(far.leaves(transpose(wide, 0, 1)) == Ranges{{64, 800'000}});
  CHECK(far.are_all_leaves(transpose(narrow, 0, 1)));
}

TEST_CASE("leaves: what is computed of another set is found there") {
  const Far base("hf://leaves/base");
  const Far adapter("hf://leaves/adapter");
  auto layout = std::make_shared<Layout>();
  layout->compute = [](const Sources&, std::uint64_t, std::span<std::byte>) {};
  layout->tensors = {plain({10}, 8)};
  layout->others = {{&adapter.weights, plain({5}, 16, 1)}};
  Tensor tensor = plain({10}, 0);
  tensor.layout = layout;
  const std::vector<FarRange> ranges = far_leaves(base.weights, tensor);
  REQUIRE(ranges.size() == 2);
  CHECK(ranges[0] == FarRange{base.weights.files[0].file->far(), 8, 40});
  CHECK(ranges[1] == FarRange{adapter.weights.files[1].file->far(), 16, 20});
}
