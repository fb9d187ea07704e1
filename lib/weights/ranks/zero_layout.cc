// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/zero_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/checked.h"
#include "base/text.h"
#include "weights/ranks/rank_file.h"
#include "weights/stretch.h"

namespace mu {
namespace {

Error wrong_size(std::size_t group, std::uint64_t needed, std::uint64_t stored, std::string_view of,
                 std::size_t ranks) {
  return rule_error("ZR-SIZE",
                    fmt::format("group {} of {} ranks: the parameters need {} values {}, {} are stored",
                                group, ranks, group_digits(needed), of, group_digits(stored)))
      .hint("a rank's file is from another run, or from one with another number of ranks");
}

}  // namespace

std::uint64_t count_of(std::span<const FlatRun> runs) {
  return std::accumulate(runs.begin(), runs.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const FlatRun& run) { return sum + run.count; });
}

std::vector<FlatRun> stretch_of(std::span<const FlatRun> runs, std::uint64_t from, std::uint64_t count) {
  std::vector<FlatRun> out;
  for_stretch(runs, &FlatRun::count, from, count,
              [&out](const FlatRun& run, std::uint64_t first, std::uint64_t size) {
                out.push_back({run.dtype, run.source, run.offset + first * (bits(run.dtype) / 8), size});
              });
  return out;
}

std::uint64_t partition_size(std::uint64_t count, std::uint64_t ranks) {
  return count / ranks + (count % ranks != 0 ? 1 : 0);
}

std::vector<std::vector<FlatRun>> place_stage12(std::span<const FlatShape> parameters,
                                                std::span<const FlatRun> partitions,
                                                std::span<const std::uint64_t> gaps, std::size_t group) {
  const std::uint64_t stored = count_of(partitions);
  std::vector<std::vector<FlatRun>> places;
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::optional<std::uint64_t> end = checked_add(at, parameters[i].count);
    if (!end || *end > stored)
      throw wrong_size(group, end.value_or(~std::uint64_t{0}), stored, "at least", partitions.size());
    places.push_back(stretch_of(partitions, at, parameters[i].count));
    at = i < gaps.size() ? checked_add(*end, gaps[i]).value_or(~std::uint64_t{0}) : *end;
  }
  // The whole is padded to a multiple of twice the ranks. Most versions cut the padding off before saving,
  // the BF16 engine doesn't, and before January 2025 some of it could stay (DeepSpeed 6974).
  const std::uint64_t unit = 2 * partitions.size();
  if (at > stored || partition_size(at, unit) != partition_size(stored, unit))
    throw wrong_size(group, at, stored, "and padding", partitions.size());
  return places;
}

std::vector<std::vector<FlatRun>> place_stage3(std::span<const FlatShape> parameters,
                                               std::span<const std::vector<FlatRun>> ranks,
                                               std::size_t group) {
  const std::uint64_t stored = count_of(ranks.front());
  for (const std::vector<FlatRun>& rank : ranks) {
    if (count_of(rank) != stored)
      throw rule_error("ZR-SIZE", fmt::format("ranks hold {} and {} values of group {}", group_digits(stored),
                                              group_digits(count_of(rank)), group));
  }
  std::vector<std::vector<FlatRun>> places;
  std::uint64_t at = 0;
  for (const FlatShape& parameter : parameters) {
    const std::uint64_t partition = partition_size(parameter.count, ranks.size());
    if (stored == 0 && partition > 0)
      throw rule_error("ZR-NVME",
                       fmt::format("group {} has no values: the optimizer was offloaded to NVMe", group))
          .hint("load it with DeepSpeed and save it without NVMe offload");
    if (partition > stored - at)
      throw wrong_size(group, checked_add(at, partition).value_or(~std::uint64_t{0}), stored,
                       "or more of each rank", ranks.size());
    std::vector<FlatRun>& runs = places.emplace_back();
    std::uint64_t left = parameter.count;
    for (const std::vector<FlatRun>& rank : ranks) {
      const std::uint64_t here = std::min(partition, left);
      for (const FlatRun& run : stretch_of(rank, at, here)) runs.push_back(run);
      left -= here;
    }
    at += partition;
  }
  if (at != stored) throw wrong_size(group, at, stored, "of each rank", ranks.size());
  return places;
}

}  // namespace mu
