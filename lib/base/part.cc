// SPDX-License-Identifier: Apache-2.0
#include "base/part.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <queue>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

// All of `text` as a number from 1 to kMostParts, or 0.
std::size_t parse_count(std::string_view text) {
  std::size_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  return whole && value <= kMostParts ? value : 0;
}

}  // namespace

Part parse_part(std::string_view text) {
  const std::size_t slash = text.find('/');
  Part part{0, 0};
  if (slash != std::string_view::npos)
    part = {parse_count(text.substr(0, slash)), parse_count(text.substr(slash + 1))};
  if (part.index == 0 || part.count == 0 || part.index > part.count)
    throw usage(fmt::format("a part is I/N with I from 1 to N and N up to {}, not '{}'",
                            group_digits(kMostParts), escape_name(text)));
  return part;
}

std::vector<std::vector<std::size_t>> cut_by_cost(const std::vector<std::uint64_t>& costs,
                                                  std::size_t count) {
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&costs](std::size_t a, std::size_t b) { return costs[a] > costs[b]; });
  // What a part has so far: cost first, then units, so that units without cost are spread, too.
  struct Load {
    std::uint64_t cost;
    std::size_t units, part;
    auto operator<=>(const Load&) const = default;
  };
  std::priority_queue<Load, std::vector<Load>, std::greater<>> least;
  for (std::size_t part = 0; part < count; ++part) least.push({0, 0, part});
  std::vector<std::vector<std::size_t>> parts(count);
  for (const std::size_t unit : order) {
    Load load = least.top();
    least.pop();
    parts[load.part].push_back(unit);
    least.push({load.cost + costs[unit], load.units + 1, load.part});
  }
  for (std::vector<std::size_t>& part : parts) std::sort(part.begin(), part.end());
  return parts;
}

std::vector<std::size_t> units_of(const Part& part, const std::vector<std::uint64_t>& costs) {
  return std::move(cut_by_cost(costs, part.count)[part.index - 1]);
}

}  // namespace mu
