// SPDX-License-Identifier: Apache-2.0
// What base/regex makes of patterns, for test_regex.py: reads lines "PATTERN TEXT", both in hexadecimal and each with
// an x before it, and answers each with a line: "no MESSAGE" when the pattern is refused; else "yes", whether all of the
// text matches, and what a match from the start and a search find: "-", or begin, end and groups.
#include <fmt/format.h>

#include <iostream>
#include <string>

#include "base/error.h"
#include "base/regex.h"

namespace {

std::string from_hex(std::string_view text) {
  std::string out;
  for (std::size_t i = 1; i + 1 < text.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
  return out;
}

std::string describe(const std::optional<mu::RegexMatch>& match, const std::string& text) {
  if (!match) return "-";
  std::string out = fmt::format("{}:{}", match->begin, match->end);
  for (const std::optional<std::string_view>& group : match->groups) {
    const auto begin = group ? group->data() - text.data() : -1;
    out += fmt::format(",{}:{}", begin, group ? begin + static_cast<std::ptrdiff_t>(group->size()) : -1);
  }
  return out;
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string pattern, text; std::cin >> pattern >> text;) {
    const std::string subject = from_hex(text);
    try {
      mu::RegexBudget budget;
      const mu::Regex regex(from_hex(pattern));
      const bool whole = regex.matches_all(subject, budget);
      fmt::print("yes {:d} {} {}\n", whole, describe(regex.match_start(subject, budget), subject),
                 describe(regex.search(subject, budget), subject));
    } catch (const mu::Error& error) {
      fmt::print("no {}\n", error.what());
    }
  }
}
