// SPDX-License-Identifier: Apache-2.0
// Whether boxes make a tensor whole.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "weights/layout.h"

namespace mu {

// Throws kMalformed (DC-CHUNK) when boxes of a tensor overlap or don't fill its shape. Each must lie within
// it.
void check_tiling(std::string_view name, const std::vector<std::uint64_t>& shape,
                  const std::vector<Box>& boxes);

// "(2, 3)"
std::string tuple_text(const std::vector<std::uint64_t>& numbers);

}  // namespace mu
