// SPDX-License-Identifier: Apache-2.0
// The order of dotted names in which numbers count as numbers: layers.2 before layers.10, a.1 before a.b, w2 before
// w10. It is that in which transformers (5.23, dot_natural_key) goes through the tensors of a model.
#pragma once

#include <string_view>

namespace mu {

bool natural_less(std::string_view a, std::string_view b);

}  // namespace mu
