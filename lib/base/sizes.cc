// SPDX-License-Identifier: Apache-2.0
#include "base/sizes.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

// What the letters after the number multiply by; nothing when they are not a unit.
std::optional<double> unit_factor(std::string_view unit) {
  std::string upper;
  for (const char c : unit) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (upper.empty() || upper == "B") return 1.0;
  constexpr std::string_view kPrefixes = "KMGTP";
  const std::size_t power = kPrefixes.find(upper[0]);
  if (power == std::string_view::npos) return std::nullopt;
  const std::string rest = upper.substr(1);
  const bool binary = rest == "IB" || rest == "I";
  if (!binary && !rest.empty() && rest != "B") return std::nullopt;
  return std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power + 1));
}

}  // namespace

std::uint64_t parse_size(std::string_view text) {
  const Error wrong = usage(fmt::format("'{}' is not a size; write for example 5GB, 1.5GiB or 500000", text));
  const std::string_view trimmed = trim(text);
  const std::size_t unit_at = trimmed.find_last_of("0123456789.") + 1;  // npos + 1 is 0: no digit at all
  const std::string_view number = trim(trimmed.substr(0, unit_at));
  const std::optional<double> factor = unit_factor(trim(trimmed.substr(unit_at)));
  double value = 0;
  const std::from_chars_result parsed = std::from_chars(number.data(), number.data() + number.size(), value);
  if (!factor || number.empty() || parsed.ec != std::errc() || parsed.ptr != number.data() + number.size()) {
    throw wrong;
  }
  const double bytes = value * *factor;
  if (!(bytes >= 0) || bytes >= 18446744073709551616.0) throw wrong;
  return static_cast<std::uint64_t>(bytes);
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"KB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  std::size_t unit = 0;
  // 999.95 would print as 1000.0.
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  const int decimals = value < 10 ? 3 : value < 100 ? 2 : 1;
  return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

}  // namespace mu
