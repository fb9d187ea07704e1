// SPDX-License-Identifier: Apache-2.0
#include "base/duration.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::pair<char, std::uint32_t> kUnits[] = {
    {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};

std::uint32_t unit_seconds(char letter) {
  for (const auto& [unit, seconds] : kUnits) {
    if (unit == letter) return seconds;
  }
  return 0;
}

}  // namespace

std::uint32_t parse_duration(std::string_view text) {
  const auto bad = [text] {
    return usage("'" + escape_name(text) + "' is not a duration")
        .hint("write it like 90s, 15m, 2h, 3d or 1d12h");
  };
  std::uint64_t total = 0;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  if (at == end) throw bad();
  while (at != end) {
    std::uint64_t count = 0;
    const std::from_chars_result parsed = std::from_chars(at, end, count);
    if (parsed.ec != std::errc()) throw bad();
    const bool alone = at == text.data() && parsed.ptr == end;
    const std::uint32_t unit = alone ? 1 : parsed.ptr == end ? 0 : unit_seconds(*parsed.ptr);
    const std::optional<std::uint64_t> part = checked_mul(count, unit);
    const std::optional<std::uint64_t> sum = part ? checked_add(total, *part) : std::nullopt;
    if (unit == 0 || !sum || *sum > std::numeric_limits<std::uint32_t>::max()) throw bad();
    total = *sum;
    at = parsed.ptr == end ? end : parsed.ptr + 1;
  }
  return static_cast<std::uint32_t>(total);
}

std::string format_duration(std::uint64_t seconds) {
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m", seconds / 60);
  const auto two = [](std::uint64_t large, char a, std::uint64_t small, char b) {
    return small == 0 ? fmt::format("{}{}", large, a) : fmt::format("{}{} {}{}", large, a, small, b);
  };
  if (seconds < 86400) return two(seconds / 3600, 'h', seconds % 3600 / 60, 'm');
  return two(seconds / 86400, 'd', seconds % 86400 / 3600, 'h');
}

}  // namespace mu
