// SPDX-License-Identifier: Apache-2.0
// Matrices that an adapter knows one by one and a base keeps joined: experts in one stack, gate and up one below the
// other.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/tensor_names.h"

namespace mu {

// The element of `whole`, the shape of a tensor of the base, at which the part begins that the adapter calls `name`
// and that has `rows` of `columns` elements (of a bias 1). `renamed` is what the table of names makes of the name.
// Nothing if the parts are not equal, or are not kept one after the other.
std::optional<std::uint64_t> begin_in(const std::vector<std::uint64_t>& whole, std::string_view name,
                                      const RenamedTensor& renamed, std::uint64_t rows,
                                      std::uint64_t columns);

}  // namespace mu
