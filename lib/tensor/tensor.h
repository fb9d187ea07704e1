// SPDX-License-Identifier: Apache-2.0
// A tensor is a description and a place to read it from. Nothing is loaded until somebody reads its bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace mu {

struct Layout;  // weights/layout.h

struct Tensor {
  std::string name;
  Dtype dtype;
  std::vector<std::uint64_t> shape;  // row-major
  std::uint32_t source;              // which file of the set
  std::uint64_t offset;              // byte in that file
  std::uint64_t size;                // bytes, row-major and little-endian, as they are read
  // How the bytes are found when they are not one run at `offset`; null for most.
  std::shared_ptr<const Layout> layout{};

  // For tensors whose size was checked against their shape.
  [[nodiscard]] std::uint64_t element_count() const { return mu::element_count(shape).value_or(0); }
};

}  // namespace mu
