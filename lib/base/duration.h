// SPDX-License-Identifier: Apache-2.0
// Durations as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mu {

// "90s", "15m", "2h", "3d", "1w", "1d12h" -> seconds; a bare number is seconds. Throws kUsage for anything
// else, and for values that do not fit 32 bits.
std::uint32_t parse_duration(std::string_view text);

// Two units at most: "45s", "12m", "2h 5m", "3d 4h".
std::string format_duration(std::uint64_t seconds);

}  // namespace mu
