// SPDX-License-Identifier: Apache-2.0
// How names are folded. In every name each component that is a number is replaced with 0, which gives its
// pattern; names with the same pattern, dtype and shape form a group. A group keeps the numbers seen at each
// place and prints them as ranges at the end. One hash lookup for each name keeps this linear: headers with
// half a million tensors are folded too.

#include "inspect/fold.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>
#include <unordered_map>

#include "base/text.h"
#include "weights/layout.h"

namespace mu {
namespace {

bool is_number(std::string_view component) {
  return is_digits(component) && component.size() <= 9 && (component.size() == 1 || component[0] != '0');
}

// "a.12.b" -> "a.0.b", and 12 is appended to `numbers`: every number is written as 0, and no other component
// can be 0.
void make_pattern(std::string_view name, std::string& pattern, std::vector<std::uint32_t>& numbers) {
  pattern.clear();
  numbers.clear();
  std::size_t start = 0;
  while (true) {
    const std::size_t dot = name.find('.', start);
    const std::string_view component = name.substr(start, dot == std::string_view::npos ? dot : dot - start);
    if (is_number(component)) {
      std::uint32_t number = 0;
      std::from_chars(component.data(), component.data() + component.size(), number);
      numbers.push_back(number);
      pattern += '0';
    } else {
      pattern += component;
    }
    if (dot == std::string_view::npos) return;
    pattern += '.';
    start = dot + 1;
  }
}

// {0,1,2,3,7} -> "[0-3,7]"; a single number stays a plain number.
std::string ranges_text(std::vector<std::uint32_t>& numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  if (numbers.size() == 1) return std::to_string(numbers.front());
  std::string text = "[";
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (i > 0) text += ',';
    text += std::to_string(numbers[i]);
    if (last > i) text += fmt::format("-{}", numbers[last]);
    i = last + 1;
  }
  return text + "]";
}

struct Group {
  FoldedGroup folded;
  std::vector<std::vector<std::uint32_t>> numbers;  // seen at each place
};

// The name of the first tensor of a group, with each number widened to all numbers seen at its place.
std::string folded_name(std::string_view first, std::vector<std::vector<std::uint32_t>>& numbers) {
  std::string name;
  std::size_t next = 0;
  for (const std::string_view component : split(first, '.')) {
    if (component.data() != first.data()) name += '.';
    name += is_number(component) ? ranges_text(numbers[next++]) : escape_name(component);
  }
  return name;
}

}  // namespace

std::vector<FoldedGroup> fold_tensors(const std::vector<const Tensor*>& tensors) {
  std::vector<Group> groups;
  std::unordered_map<std::string, std::vector<std::size_t>> by_pattern;  // groups, one a dtype and shape
  std::string pattern;
  std::vector<std::uint32_t> numbers;
  for (const Tensor* tensor : tensors) {
    make_pattern(tensor->name, pattern, numbers);
    std::vector<std::size_t>& candidates = by_pattern[pattern];
    const auto same = std::find_if(candidates.begin(), candidates.end(), [&](std::size_t i) {
      return type_text(*groups[i].folded.first) == type_text(*tensor) &&
             groups[i].folded.first->shape == tensor->shape;
    });
    const std::size_t index = same == candidates.end() ? groups.size() : *same;
    if (index == groups.size()) {
      candidates.push_back(index);
      groups.push_back({{"", tensor}, std::vector<std::vector<std::uint32_t>>(numbers.size())});
    }
    Group& group = groups[index];
    ++group.folded.count;
    group.folded.elements += tensor->element_count();
    group.folded.bytes += tensor->size;
    for (std::size_t i = 0; i < numbers.size(); ++i) group.numbers[i].push_back(numbers[i]);
  }
  std::vector<FoldedGroup> folded;
  folded.reserve(groups.size());
  for (Group& group : groups) {
    group.folded.name = folded_name(group.folded.first->name, group.numbers);
    folded.push_back(std::move(group.folded));
  }
  return folded;
}

}  // namespace mu
