// SPDX-License-Identifier: Apache-2.0
// Shell-style patterns as Python's fnmatch.fnmatchcase matches them: * and ? cross '.' and '/', [seq],
// [!seq].
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mu {

// A pattern prepared for matching many names. Characters are Unicode code points.
class Glob {
 public:
  explicit Glob(std::string_view pattern);

  [[nodiscard]] bool matches(std::string_view text) const;
  [[nodiscard]] const std::string& pattern() const { return pattern_; }

 private:
  struct Element {
    enum Kind : unsigned char { kCharacter, kAny, kStar, kSet, kNotSet } kind;
    char32_t character = 0;
    std::vector<std::pair<char32_t, char32_t>> ranges{};
  };
  static bool matches_one(const Element& element, char32_t c);

  std::string pattern_;
  std::vector<Element> elements_;
};

// Matches a single name; the pattern is prepared only if its plain beginning fits.
bool glob_matches(std::string_view pattern, std::string_view text);

// True when one of the patterns matches.
bool matches_any(const std::vector<Glob>& globs, std::string_view text);

}  // namespace mu
