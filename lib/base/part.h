// SPDX-License-Identifier: Apache-2.0
// Parts of a piece of work: part I of N, counted from 1, and the cut of units with costs into N parts.
// Pure arithmetic: every machine that cuts the same plan gets the same parts.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mu {

inline constexpr std::size_t kMostParts = 1'000'000;

struct Part {
  std::size_t index = 1;  // 1 … count
  std::size_t count = 1;  // at most kMostParts
  auto operator<=>(const Part&) const = default;
};

// Reads "I/N". Throws kUsage unless 1 <= I <= N <= kMostParts.
Part parse_part(std::string_view text);

// The units of each of `count` parts, every unit in exactly one, in rising order. Units are dealt out from
// the dearest down, each to the part that has the least cost so far (LPT; Graham 1969, "Bounds on
// multiprocessing timing anomalies"): the largest part exceeds the mean by less than one unit. Ties go to the
// lower number. With fewer units than parts the last parts are empty.
std::vector<std::vector<std::size_t>> cut_by_cost(const std::vector<std::uint64_t>& costs, std::size_t count);

// The units of one part.
std::vector<std::size_t> units_of(const Part& part, const std::vector<std::uint64_t>& costs);

}  // namespace mu
