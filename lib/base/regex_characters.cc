// SPDX-License-Identifier: Apache-2.0
// Kinds are written out as ranges and properties: \w and \s of PCRE2 differ from Python's by a few characters, and
// change with its versions.
#include "base/regex_characters.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

using Range = std::pair<char32_t, char32_t>;

// As str.isspace() has it, which counts \x1c to \x1f as well; Unicode does not.
constexpr Range kSpaces[] = {{0x09, 0x0d},     {0x1c, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},
                             {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
                             {0x205f, 0x205f}, {0x3000, 0x3000}};
constexpr Range kAsciiSpaces[] = {{0x09, 0x0d}, {0x20, 0x20}};
constexpr Range kAsciiDigits[] = {{'0', '9'}};
constexpr Range kAsciiWord[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
constexpr std::string_view kWord = "\\p{L}\\p{N}_";
// The other categories, and connecting punctuation without the underscore.
constexpr std::string_view kNotWord =
    "\\p{M}\\p{S}\\p{Z}\\p{C}\\p{Pd}\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}\\p{Po}"
    "\\x{203f}\\x{2040}\\x{2054}\\x{fe33}\\x{fe34}\\x{fe4d}-\\x{fe4f}\\x{ff3f}";

bool is_letter(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string ranges_text(std::span<const Range> ranges) {
  std::string out;
  for (const auto& [low, high] : ranges) {
    out += character_text(low);
    if (high == low) continue;
    out += '-';
    out += character_text(high);
  }
  return out;
}

std::vector<Range> complement(std::span<const Range> ranges) {
  std::vector<Range> out;
  char32_t next = 0;
  for (const auto& [low, high] : ranges) {
    if (low > next) out.emplace_back(next, low - 1);
    next = high + 1;
  }
  out.emplace_back(next, 0x10ffff);
  return out;
}

}  // namespace

bool is_ascii_digit(char32_t c) {
  return c >= '0' && c <= '9';
}

bool is_octal(char32_t c) {
  return c >= '0' && c <= '7';
}

std::string character_text(char32_t c) {
  if (is_letter(c) || is_ascii_digit(c) || c == '_') return {static_cast<char>(c)};
  return fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(c));
}

std::string kind_text(char letter, bool ascii) {
  switch (letter) {
    case 'd':
      return ascii ? ranges_text(kAsciiDigits) : "\\p{Nd}";
    case 'D':
      return ascii ? ranges_text(complement(kAsciiDigits)) : "\\P{Nd}";
    case 's':
      return ascii ? ranges_text(kAsciiSpaces) : ranges_text(kSpaces);
    case 'S':
      return ranges_text(ascii ? complement(kAsciiSpaces) : complement(kSpaces));
    case 'w':
      return ascii ? ranges_text(kAsciiWord) : std::string(kWord);
    default:
      return ascii ? ranges_text(complement(kAsciiWord)) : std::string(kNotWord);
  }
}

char32_t PatternReader::peek() const {
  return at_ < pattern_.size() ? decode_utf8(pattern_, at_).value : kEnd;
}

char32_t PatternReader::get() {
  if (at_ >= pattern_.size()) return kEnd;
  const CodePoint point = decode_utf8(pattern_, at_);
  if (!point.valid) throw malformed("it is not valid UTF-8");
  at_ += point.size;
  return point.value;
}

bool PatternReader::take(char32_t c) {
  if (peek() != c) return false;
  get();
  return true;
}

std::uint64_t PatternReader::number() {
  std::uint64_t value = 0;
  while (is_ascii_digit(peek())) value = std::min<std::uint64_t>(value * 10 + (get() - '0'), kMost);
  return value;
}

std::string PatternReader::name_until(char32_t close) {
  const std::size_t start = at_;
  while (peek() != close) {
    if (get() == kEnd) throw malformed("the name of a group does not end");
  }
  const std::string name(pattern_.substr(start, at_ - start));
  get();
  const bool is_word = std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter(static_cast<unsigned char>(c)) || is_ascii_digit(static_cast<unsigned char>(c)) ||
           c == '_';
  });
  if (name.empty() || !is_word)
    throw malformed(fmt::format("'{}' is not a name of a group", escape_name(name)));
  return name;
}

char32_t PatternReader::hexadecimal(std::size_t digits) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const char32_t c = get();
    if (is_ascii_digit(c))
      value = value * 16 + (c - '0');
    else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
      value = value * 16 + ((c | 0x20) - 'a' + 10);
    else
      throw malformed("a hexadecimal escape is too short");
  }
  if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
    throw malformed("an escape does not stand for a character");
  return static_cast<char32_t>(value);
}

Escape PatternReader::escape(bool ascii) {
  const std::size_t here = at_;
  const char32_t c = get();
  constexpr std::string_view kLetters = "afnrtv";
  constexpr std::string_view kMeanings = "\a\f\n\r\t\v";
  if (c == kEnd) throw malformed("it ends in a backslash");
  if (c < 0x80) {
    const std::size_t i = kLetters.find(static_cast<char>(c));
    if (i != std::string_view::npos) return {static_cast<char32_t>(kMeanings[i]), {}};
  }
  if (c == 'x') return {hexadecimal(2), {}};
  if (c == 'u') return {hexadecimal(4), {}};
  if (c == 'U') return {hexadecimal(8), {}};
  if (c < 0x80 && std::string_view("dDsSwW").find(static_cast<char>(c)) != std::string_view::npos)
    return {kEnd, kind_text(static_cast<char>(c), ascii)};
  if (c == 'N') throw malformed("characters by their names (\\N{…}) are not supported");
  if (!is_letter(c) && !is_ascii_digit(c)) return {c, {}};
  at_ = here;
  return {kEnd, {}};
}

}  // namespace mu
