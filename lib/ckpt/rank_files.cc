// SPDX-License-Identifier: Apache-2.0
#include "ckpt/rank_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/text.h"

namespace mu {
namespace {

// True for random states of the first of several nodes with their own disks. Training can go on without those
// of the others.
bool is_first_node(const std::set<std::uint64_t>& ranks, std::uint64_t processes) {
  const std::uint64_t count = ranks.size();
  return count > 1 && *ranks.rbegin() + 1 == count && processes % count == 0;
}

}  // namespace

void RankFiles::add(const RankName& name) {
  Kind& kind = kinds_[{name.processes.value_or(0), name.kind}];
  kind.ranks.insert(name.rank);
  kind.is_rng = name.is_rng;
}

std::set<std::string> RankFiles::kinds() const {
  std::set<std::string> names;
  for (const auto& [key, kind] : kinds_) {
    if (!kind.is_rng) names.insert(key.second);
  }
  return names;
}

bool RankFiles::has_first() const {
  return std::any_of(kinds_.begin(), kinds_.end(),
                     [](const auto& entry) { return entry.second.ranks.contains(0); });
}

std::uint64_t RankFiles::processes() const {
  std::uint64_t most = 0;
  for (const auto& [key, kind] : kinds_) most = std::max({most, key.first, *kind.ranks.rbegin() + 1});
  return most;
}

std::string RankFiles::missing(std::uint64_t processes) const {
  for (const auto& [key, kind] : kinds_) {
    std::uint64_t expected = key.first > 0 ? key.first : processes;
    expected = std::max(expected, *kind.ranks.rbegin() + 1);
    const std::optional<std::uint64_t> rank = first_missing(kind.ranks, expected);
    if (!rank || (kind.is_rng && is_first_node(kind.ranks, expected))) continue;
    return fmt::format("{} of {}, {} expected: rank {}'s is missing",
                       kind.is_rng ? "random states" : escape_name(key.second) + " files",
                       plural(kind.ranks.size(), "rank"), expected, *rank);
  }
  return "";
}

std::string RankFiles::gap() const {
  for (const auto& [key, kind] : kinds_) {
    std::uint64_t expected = *kind.ranks.begin();
    for (const std::uint64_t rank : kind.ranks) {
      if (rank != expected)
        return fmt::format("{} of rank {} is missing between those of other ranks", escape_name(key.second),
                           expected);
      ++expected;
    }
    // Kinds whose names hold the number of processes exist for the same ranks.
    const auto next = kinds_.upper_bound({key.first, key.second});
    if (key.first > 0 && next != kinds_.end() && next->first.first == key.first &&
        next->second.ranks != kind.ranks)
      return fmt::format("{} and {} are of different ranks", escape_name(key.second),
                         escape_name(next->first.second));
  }
  return "";
}

std::string missing_of_grid(const std::set<std::vector<std::uint64_t>>& places) {
  if (places.empty()) return "";
  std::vector<std::uint64_t> sizes(places.begin()->size(), 0);
  for (const std::vector<std::uint64_t>& place : places) {
    if (place.size() != sizes.size()) return "mp_rank folders of two kinds are mixed";
    for (std::size_t i = 0; i < sizes.size(); ++i) sizes[i] = std::max(sizes[i], place[i] + 1);
  }
  std::uint64_t count = 1;
  for (const std::uint64_t size : sizes) count = std::min(kMostRanks * kMostRanks, count * size);
  return count == places.size() ? "" : fmt::format("{} mp_rank folders, {} expected", places.size(), count);
}

}  // namespace mu
