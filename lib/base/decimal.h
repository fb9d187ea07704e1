// SPDX-License-Identifier: Apache-2.0
// Whole numbers in texts of others: headers, records.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mu {

// All of the text as a decimal number; nothing for any other text, such as one with a sign, and for what does not fit.
std::optional<std::uint64_t> parse_decimal(std::string_view text);

}  // namespace mu
