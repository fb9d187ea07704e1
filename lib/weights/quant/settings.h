// SPDX-License-Identifier: Apache-2.0
// Numbers of a quantization_config.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/json.h"

namespace mu {

// A whole number of 1 or more; nothing where it is absent, null, or -1, by which libraries mean "all in one". Throws
// kMalformed.
std::optional<std::uint64_t> find_size(const JsonValue& settings, std::string_view key);

}  // namespace mu
