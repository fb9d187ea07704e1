// SPDX-License-Identifier: Apache-2.0
// Regular expressions as Python's re reads them: configs of Python's world hold them (PEFT's target_modules and
// rank_pattern, the weight names of Transformers). What Python refuses is refused here, and so is the little that
// cannot be given the same meaning. The only place that sees PCRE2.
//
// Patterns come from files that strangers wrote, and a pattern can take longer than the universe lasts. So matching
// takes a budget of steps, which all patterns of one input share; a second of work or so, and the same on any machine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// May be spent by several threads at once.
class RegexBudget {
 public:
  static constexpr std::uint64_t kSecond =
      200'000'000;  // steps that take about a second, less where texts are long
  explicit RegexBudget(std::uint64_t steps = kSecond) : left_(steps) {}

  [[nodiscard]] std::uint64_t left() const { return left_; }
  // False, with nothing left, if there were fewer.
  bool spend(std::uint64_t steps);

 private:
  std::atomic<std::uint64_t> left_;
};

struct RegexMatch {
  std::size_t begin = 0, end = 0;                       // bytes of the text
  std::vector<std::optional<std::string_view>> groups;  // [0] is the first group; views of the text
};

// A pattern, compiled when it is first used; a copy shares what is compiled, and any thread may use it. All functions
// throw kMalformed, with the pattern named: when it is not one that Python reads, or the budget is spent.
class Regex {
 public:
  // `name` is what messages call it; if it is empty, they show the pattern.
  explicit Regex(std::string pattern, std::string name = {});

  // Throws for a wrong syntax, without compiling.
  void check() const;

  [[nodiscard]] const std::string& pattern() const;

  // re.fullmatch, re.match, re.search.
  bool matches_all(std::string_view text, RegexBudget& budget) const;
  std::optional<RegexMatch> match_start(std::string_view text, RegexBudget& budget) const;
  std::optional<RegexMatch> search(std::string_view text, RegexBudget& budget) const;

  // The position of (?P<name>…) in RegexMatch::groups, once something was matched.
  [[nodiscard]] std::optional<std::size_t> group_index(const std::string& name) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace mu
