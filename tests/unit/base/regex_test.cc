// SPDX-License-Identifier: Apache-2.0
#include "base/regex.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace mu;

namespace {

// What re.fullmatch says, or the reason why the pattern is refused.
std::string verdict(const std::string& pattern, std::string_view text, RegexBudget& budget) {
  try {
    return Regex(pattern).matches_all(text, budget) ? "yes" : "no";
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMalformed);
    return error.what();
  }
}

std::string verdict(const std::string& pattern, std::string_view text) {
  RegexBudget budget;
  return verdict(pattern, text, budget);
}

}  // namespace

TEST_CASE("regex: matches as Python's re does") {
  struct Row {
    const char* pattern;
    std::string_view text;
    const char* expected;
  };
  using namespace std::string_view_literals;
  // Expected values from Python 3.11; tests/interop/test_regex.py compares many more.
  const Row rows[] = {
      {"", "", "yes"},
      {".*q_proj", "model.layers.0.q_proj", "yes"},
      {".*q_proj", "model.layers.0.q_proj.x", "no"},
      {"a|ab", "ab", "yes"},
      {"a$", "a\n", "no"},
      {"a$\\n", "a\n", "yes"},
      {".", "\n", "no"},
      {".", "\r", "yes"},
      {"(?s).", "\n", "yes"},
      {"a{,3}", "aaa", "yes"},
      {"a{,3}", "aaaa", "no"},
      {"a{,}", "aaaa", "yes"},
      {"x{}", "x{}", "yes"},
      {"x{a", "x{a", "yes"},
      {"x{2", "x{2", "yes"},
      {"a\\Z", "a", "yes"},
      {"\\Aa", "a", "yes"},
      {"a++b", "aab", "yes"},
      {"a++ab", "aab", "no"},
      {"(?>a+)a", "aaa", "no"},
      {"[[:alpha:]]", ":]", "yes"},
      {"[[:alpha:]]", "b", "no"},
      {"[]a]", "]", "yes"},
      {"[^]a]", "]", "no"},
      {"[a-]", "-", "yes"},
      {"[\\w-]", "-", "yes"},
      {"[\\]-a]", "^", "yes"},
      {"\\d+", "\u0661\u0662", "yes"},
      {"(?a)\\d+", "\u0661\u0662", "no"},
      {"\\w+", "\u00e9_1", "yes"},
      {"[\\W]", "\u203f", "yes"},
      {"[\\W]", "_", "no"},
      {"\\s", "\x1c", "yes"},
      {"\\s", "\u180e", "no"},
      {"(?a:\\w)\\w", "a\u00e9", "yes"},
      {"(?i)q_PROJ", "Q_proj", "yes"},
      {"(?i:a)b", "AB", "no"},
      {"(?x) a b # c", "ab", "yes"},
      {"\\101\\x41\\u0041\\U00000041", "AAAA", "yes"},
      {"\\0", "\0"sv, "yes"},
      {"(a)\\1", "aa", "yes"},
      {"(?P<n>a)(?P=n)", "aa", "yes"},
      {"(a)?(?(1)b|c)", "c", "yes"},
      {"(a)?(?(1)b|c)", "ac", "no"},
      {"(?:a(?#note))+", "aa", "yes"},
      {"(?=ab)*a", "a", "yes"},
      {"(?=a)b*a", "a", "yes"},
      {"(?<=a)b|a(?<=a)b", "ab", "yes"},
      {"a\\b-\\bb", "a-b", "yes"},
      {"a\\Bb", "ab", "yes"},
      {"\\.\\-\\{\\}\\/", ".-{}/", "yes"},
      {"\u00e9+", "\u00e9\u00e9", "yes"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.pattern);
    CHECK(verdict(row.pattern, row.text) == row.expected);
  }
}

TEST_CASE("regex: what Python's re refuses, or reads in another way, is refused with the pattern named") {
  // Of these only the last five are known to Python: they have no exact counterpart.
  for (const char* pattern : {"*",
                              "(*UTF)a",
                              "{,3}",
                              "^*",
                              "a**",
                              "a*??",
                              "a\\z",
                              "a\\Kb",
                              "\\Qa\\E",
                              "\\R",
                              "\\h",
                              "\\X",
                              "\\G",
                              "\\C",
                              "\\p{L}",
                              "(?R)",
                              "(?1)",
                              "(?|a)",
                              "(?<n>a)",
                              "(?'n'a)",
                              "(?P>n)",
                              "(?P=n)",
                              "a(?i)b",
                              "(?au)a",
                              "(?L)a",
                              "(?-i)a",
                              "(?i-i:a)",
                              "(?-a:a)",
                              "(?<=a|bc)d",
                              "(?<=a*)",
                              "(a\\1)",
                              "\\1",
                              "\\9",
                              "[\\d-x]",
                              "[a-\\d]",
                              "[z-a]",
                              "[a",
                              "[]",
                              "(",
                              ")",
                              "(?",
                              "(?#a",
                              "\\",
                              "\\x4",
                              "\\u12",
                              "\\U00110000",
                              "[\\8]",
                              "\\400",
                              "(?(0)a)",
                              "(?(2)a)",
                              "(?(n)a)",
                              "a{2,1}",
                              "(?P<1>a)",
                              "(?P<>a)",
                              "(?P<a>x)(?P<a>y)",
                              "(?(1)a|b|c)(x)",
                              "a{99999}",
                              "\\N{DASH}",
                              "\\ud800",
                              "(?i)\u00e9",
                              "(?P<\u00e9>a)"}) {
    CAPTURE(pattern);
    CHECK(verdict(pattern, "a").starts_with("the pattern '"));
  }
  CHECK(verdict("a\\Kb", "a") == "the pattern 'a\\\\Kb' can't be used: \\K is not known to Python's re");
  CHECK(verdict("(?i)a", "\u212a") ==
        "the pattern '(?i)a' can't be used: it ignores case, and '\u212a' is not ASCII");
  CHECK(verdict("\xff", "a") == "the pattern '\\xff' can't be used: it is not valid UTF-8");
  CHECK(verdict("a", "\xff").starts_with("the pattern 'a' can't be used: UTF-8 error"));
  CHECK(verdict(std::string(300, '(') + std::string(300, ')'), "").ends_with("nested too deeply"));
  CHECK(verdict(std::string(30000, 'a'), "").ends_with("it is too long"));
}

TEST_CASE("regex: a search gives places and groups, a match from the start only what begins there") {
  RegexBudget budget;
  const std::string text = "model.layers.12.mlp";
  const Regex layer("layers\\.(?P<index>\\d+)(x)?\\.");
  const std::optional<RegexMatch> found = layer.search(text, budget);
  REQUIRE(found);
  CHECK(found->begin == 6);
  CHECK(found->end == 16);
  REQUIRE(found->groups.size() == 2);
  CHECK(found->groups[layer.group_index("index").value()] == "12");
  CHECK(!found->groups[1]);
  CHECK(!layer.group_index("name"));
  CHECK(!layer.match_start(text, budget));
  CHECK(Regex("model").match_start(text, budget)->end == 5);
  CHECK(Regex("^model\\.(?!layer\\b)").search(text, budget));
}

TEST_CASE("regex: patterns that would take for ever end with the budget, which they share") {
  const std::string text(40, 'a');
  for (const char* pattern :
       {"(a*)*[bc]", "(a|aa)+[bc]", "(?:a+)+$[bc]", "((a{0,9}){0,9}){0,9}[bc]", "(?:(?:a|b)*)*[cd]"}) {
    CAPTURE(pattern);
    RegexBudget budget(1'000'000);
    CHECK(verdict(pattern, text, budget).ends_with("takes too long to match"));
    CHECK(budget.left() == 0);
    CHECK(verdict("a", text, budget).ends_with("takes too long to match"));
  }
  RegexBudget budget(1'000'000);
  const Regex regex(".*a");
  CHECK(regex.matches_all(text, budget));
  const std::uint64_t first = 1'000'000 - budget.left();
  const std::uint64_t before = budget.left();
  CHECK(regex.matches_all(text, budget));
  CHECK(before - budget.left() < first);  // it is compiled once
}
