// SPDX-License-Identifier: Apache-2.0
// Tensors that lie in pieces at random places of several files, for tests of what reads them.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "weights/layout.h"

namespace mu::testing {

using Shape = std::vector<std::uint64_t>;

// Cuts a tensor into boxes at random places, stores each in a file of its own with the strides of a random
// order of dimensions, and returns the bytes of the files.
struct Cut {
  Tensor tensor{"t", Dtype::kU16, {}, 0, 0, 0};
  std::vector<std::vector<std::uint16_t>> files;
  Layout layout;
};
inline Cut cut_at_random(std::mt19937& random, const Shape& shape) {
  Cut cut;
  cut.tensor.shape = cut.layout.shape = shape;
  cut.tensor.size = 2 * element_count(shape).value();
  std::vector<Box> boxes = {{0, 0, Shape(shape.size(), 0), shape, {}}};
  for (int i = 0; i < 4 && !shape.empty(); ++i) {
    const std::size_t which = random() % boxes.size(), dim = random() % shape.size();
    if (boxes[which].size[dim] < 2) continue;
    const std::uint64_t at = 1 + random() % (boxes[which].size[dim] - 1);
    Box upper = boxes[which];
    upper.begin[dim] += at;
    upper.size[dim] -= at;
    boxes[which].size[dim] = at;
    boxes.push_back(upper);
  }
  const Shape strides = row_major_strides(shape);
  for (Box& box : boxes) {
    box.source = static_cast<std::uint32_t>(cut.files.size());
    std::vector<std::size_t> order(shape.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (random() % 2 == 0) std::shuffle(order.begin(), order.end(), random);
    box.strides.assign(shape.size(), 0);
    std::uint64_t stride = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
      box.strides[order[i]] = stride;
      stride *= box.size[order[i]];
    }
    box.offset = 2 * (random() % 3);
    std::vector<std::uint16_t> file(stride + 3, 0xEEEE);
    // The value of an element is its place in the tensor.
    for (std::uint64_t n = 0; n < stride; ++n) {
      std::uint64_t rest = n, from = box.offset / 2, value = 0;
      for (std::size_t i = shape.size(); i-- > 0;) {
        from += rest % box.size[i] * box.strides[i];
        value += (box.begin[i] + rest % box.size[i]) * strides[i];
        rest /= box.size[i];
      }
      file[from] = static_cast<std::uint16_t>(value);
    }
    cut.files.push_back(std::move(file));
  }
  cut.layout.boxes = boxes;
  return cut;
}

}  // namespace mu::testing
