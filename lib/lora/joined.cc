// SPDX-License-Identifier: Apache-2.0
#include "lora/joined.h"

#include <vector>

#include "model/conversions.h"
#include "model/name_table.h"

namespace mu {
namespace {

// Whether the conversion puts equal parts one after the other: the experts, and of each the matrices in order.
bool is_in_order(const NameRule& rule) {
  if (makes_one_stack(rule)) return true;
  if (rule.operations.size() != 1) return false;
  const NameOperation& only = rule.operations.front();
  return only.name == "Concatenate" && only.values.size() == 1 && only.values.front().second == "0";
}

}  // namespace

std::optional<std::uint64_t> begin_in(const std::vector<std::uint64_t>& whole, std::string_view name,
                                      const RenamedTensor& renamed, std::uint64_t rows,
                                      std::uint64_t columns) {
  if (renamed.conversion == nullptr || !is_in_order(*renamed.conversion)) return std::nullopt;
  std::vector<std::uint64_t> one = whole;  // of an expert, or of the only one
  std::uint64_t expert = 0;
  if (stacks_experts(*renamed.conversion)) {
    const std::optional<std::uint64_t> number = last_number_in(name);
    if (one.size() != 3 || !number || *number >= one[0]) return std::nullopt;
    expert = *number;
    one.erase(one.begin());
  }
  if (one.size() == 1) one.push_back(1);
  const std::uint64_t parts = renamed.conversion->match.size();
  if (one.size() != 2 || one[1] != columns || one[0] % parts != 0 || one[0] / parts != rows)
    return std::nullopt;
  return (expert * one[0] + renamed.pattern * rows) * columns;
}

}  // namespace mu
