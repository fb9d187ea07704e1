// SPDX-License-Identifier: Apache-2.0
// Elements and shapes as text. An element is shown as the shortest decimal that reads back as the same value
// of its own dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace mu {

// Element `index` of a buffer of whole elements. "true", "-3", "0.1", "1.5-2i", "nan", "-inf".
std::string format_element(Dtype dtype, std::span<const std::byte> data, std::size_t index);

std::string shape_text(const std::vector<std::uint64_t>& shape);  // "[2, 3]"

}  // namespace mu
