// SPDX-License-Identifier: Apache-2.0
// Shares of a piece of work: share I of N, counted from 1, and the cut of units with costs into N shares.
// Pure arithmetic: every machine that cuts the same plan gets the same shares.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mu {

inline constexpr std::size_t kMostParts = 1'000'000;

struct Share {
  std::size_t index = 1;  // 1 … count
  std::size_t count = 1;  // at most kMostParts
  auto operator<=>(const Share&) const = default;
};

// Reads "I/N". Throws kUsage unless 1 <= I <= N <= kMostParts.
Share parse_part(std::string_view text);

// The units of each of `count` shares, every unit in exactly one, in rising order. The dearest unit goes
// first, each to the share that has least so far (LPT; Graham 1969, "Bounds on multiprocessing timing
// anomalies"): the largest share exceeds the mean by less than one unit. Ties go to the lower number. With
// fewer units than shares the last shares are empty.
std::vector<std::vector<std::size_t>> cut_by_cost(const std::vector<std::uint64_t>& costs, std::size_t count);

// The units of one share.
std::vector<std::size_t> units_of(const Share& part, const std::vector<std::uint64_t>& costs);

}  // namespace mu
