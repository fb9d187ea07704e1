// SPDX-License-Identifier: Apache-2.0
// Names that files of older libraries have, and that transformers still reads as today's: whatever the class,
// LayerNorm.gamma is LayerNorm.weight. Source: transformers 5.23, "legacy" of conversion_mapping.py.
#pragma once

#include <string>
#include <string_view>

namespace mu {

// Today's name of a tensor that has an older one; of others, the same.
std::string without_older_name(std::string_view name);

}  // namespace mu
