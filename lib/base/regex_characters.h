// SPDX-License-Identifier: Apache-2.0
// The characters of a pattern in Python's syntax, with escapes and kinds of characters: what base/regex_syntax reads
// patterns with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mu {

bool is_ascii_digit(char32_t c);
bool is_octal(char32_t c);

// One character for PCRE2, in a set or outside of it.
std::string character_text(char32_t c);
// What \d, \D, \s, \S, \w and \W mean to Python, as the content of a set for PCRE2.
std::string kind_text(char letter, bool ascii);

// What stands after a backslash: one character, or a kind of characters as the content of a set.
struct Escape {
  char32_t character;
  std::string kind;
};

class PatternReader {
 public:
  static constexpr char32_t kEnd = 0xffffffff;      // no character is left
  static constexpr std::uint64_t kMost = 1U << 30;  // that number() returns

  explicit PatternReader(std::string_view pattern) : pattern_(pattern) {}

  // All of these throw kMalformed for what Python refuses.
  [[nodiscard]] char32_t peek() const;
  char32_t get();
  bool take(char32_t c);
  std::uint64_t number();
  std::string name_until(char32_t close);  // of a group, and the closing character
  // What a backslash and the letters after it mean in a set and outside of it alike. Without a meaning there: neither a
  // character (kEnd) nor a kind, and nothing was read.
  Escape escape(bool ascii);

  [[nodiscard]] std::size_t place() const { return at_; }
  void go_back(std::size_t place) { at_ = place; }

 private:
  char32_t hexadecimal(std::size_t digits);

  std::string_view pattern_;
  std::size_t at_ = 0;
};

}  // namespace mu
