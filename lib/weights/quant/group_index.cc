// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/group_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"

namespace mu {
namespace {

constexpr std::uint64_t kMostGroups = 1U << 20;  // their scales are read at once; models have a few hundred
constexpr std::size_t kAtOnce = 16384;           // columns
constexpr std::uint32_t kNone = 0xFFFFFFFFU;     // -1

// The first column whose group is not one, or `index.size()`.
std::size_t find_wrong(std::span<const std::uint32_t> index, std::uint64_t groups) {
  const auto wrong = [groups](std::uint32_t group) { return group >= groups; };
  if (std::none_of(index.begin(), index.end(), wrong)) return index.size();
  return static_cast<std::size_t>(std::find_if(index.begin(), index.end(), wrong) - index.begin());
}

Error not_a_group(const Tensor& index, std::uint64_t column, std::uint32_t value, std::uint64_t groups) {
  return malformed(fmt::format("'{}' says that column {} is in group {}, where there are {}",
                               escape_name(index.name), column, static_cast<std::int32_t>(value),
                               plural(groups, "group")));
}

}  // namespace

bool check_group_index(const Weights& weights, const Tensor& index, std::uint64_t columns,
                       std::uint64_t groups) {
  if (index.dtype != Dtype::kI32 || index.shape != std::vector<std::uint64_t>{columns})
    throw malformed(fmt::format("'{}' should be {} of I32, and is {} {}", escape_name(index.name),
                                plural(columns, "number"), name(index.dtype), shape_text(index.shape)));
  if (groups > kMostGroups)
    throw malformed(fmt::format("'{}' sorts the columns into {} groups, which no model has",
                                escape_name(index.name), groups));
  std::array<std::uint32_t, kAtOnce> buffer{};
  for (std::uint64_t at = 0; at < columns; at += kAtOnce) {
    const std::span<std::uint32_t> part =
        std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(kAtOnce, columns - at)));
    weights.read(index, at * sizeof(std::uint32_t), std::as_writable_bytes(part));
    const std::size_t wrong = find_wrong(part, groups);
    if (wrong == part.size()) continue;
    if (part[wrong] == kNone) return false;
    throw not_a_group(index, at + wrong, part[wrong], groups);
  }
  return true;
}

void read_group_index(const Sources& sources, std::size_t which, std::uint64_t first, std::uint64_t groups,
                      std::span<std::uint32_t> out) {
  sources.read(which, first * sizeof(std::uint32_t), std::as_writable_bytes(out));
  const std::size_t wrong = find_wrong(out, groups);
  if (wrong != out.size()) throw not_a_group(sources[which], first + wrong, out[wrong], groups);
}

}  // namespace mu
