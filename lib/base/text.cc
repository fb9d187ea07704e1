// SPDX-License-Identifier: Apache-2.0
// Everything here goes over code points: a name from a file is decoded one code point at a time, and each is
// shown, escaped or counted by what it is. Malformed bytes are code points of their own, so that no input is
// skipped and nothing reads past the end. Widths are those of a terminal, by ranges of Unicode.
#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace mu {
namespace {

using Range = std::pair<char32_t, char32_t>;

// Characters that change what surrounds them or can't be seen: zero-width and direction controls, line and
// paragraph separators, byte order mark, interlinear marks, tags.
constexpr std::array<Range, 9> kInvisible = {{{0x00AD, 0x00AD},
                                              {0x061C, 0x061C},
                                              {0x180E, 0x180E},
                                              {0x200B, 0x200F},
                                              {0x2028, 0x202E},
                                              {0x2060, 0x206F},
                                              {0xFEFF, 0xFEFF},
                                              {0xFFF9, 0xFFFB},
                                              {0xE0000, 0xE0FFF}}};

// Blocks of Unicode whose characters take no column (combining marks) or two (East Asian wide, emoji).
constexpr std::array<Range, 6> kZeroWidth = {{{0x0300, 0x036F},
                                              {0x1AB0, 0x1AFF},
                                              {0x1DC0, 0x1DFF},
                                              {0x20D0, 0x20FF},
                                              {0xFE00, 0xFE0F},
                                              {0xFE20, 0xFE2F}}};
constexpr std::array<Range, 10> kWide = {{{0x1100, 0x115F},
                                          {0x2E80, 0x303E},
                                          {0x3041, 0x4DBF},
                                          {0x4E00, 0x9FFF},
                                          {0xA000, 0xA4CF},
                                          {0xAC00, 0xD7A3},
                                          {0xF900, 0xFAFF},
                                          {0xFE30, 0xFE6F},
                                          {0xFF00, 0xFF60},
                                          {0x1F300, 0x3FFFD}}};

template <std::size_t N>
bool in_ranges(const std::array<Range, N>& ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const Range& range) { return c >= range.first && c <= range.second; });
}

std::size_t column_width(char32_t c) {
  if (c < 0x300) return 1;
  if (in_ranges(kZeroWidth, c)) return 0;
  return in_ranges(kWide, c) ? 2 : 1;
}

}  // namespace

CodePoint decode_utf8(std::string_view text, std::size_t offset) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(offset);
  if (first < 0x80) return {first, 1, true};
  const CodePoint broken{first, 1, false};
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || offset + size > text.size()) return broken;
  char32_t value = first & (0xFFU >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(offset + i) & 0xC0U) != 0x80) return broken;
    value = (value << 6) | (byte(offset + i) & 0x3FU);
  }
  constexpr std::array<char32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[size] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return broken;
  return {value, size, true};
}

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    // Headers are ASCII almost everywhere: eight bytes at a time.
    std::uint64_t word = 0;
    if (i + 8 <= text.size()) {
      std::copy_n(text.data() + i, 8, reinterpret_cast<char*>(&word));
      if ((word & 0x8080808080808080U) == 0) {
        i += 8;
        continue;
      }
    }
    const CodePoint point = decode_utf8(text, i);
    if (!point.valid) return i;
    i += point.size;
  }
  return std::nullopt;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](char32_t value) { out += static_cast<char>(static_cast<unsigned char>(value)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::string escape_name(std::string_view name) {
  const bool plain =
      std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7F && c != '\\'; });
  if (plain) return std::string(name);
  std::string out;
  out.reserve(name.size());
  for (std::size_t i = 0; i < name.size();) {
    const CodePoint point = decode_utf8(name, i);
    if (point.value == U'\\') {
      out += "\\\\";
    } else if (point.value == U'\n' || point.value == U'\t' || point.value == U'\r') {
      out += point.value == U'\n' ? "\\n" : point.value == U'\t' ? "\\t" : "\\r";
    } else if (!point.valid || point.value < 0x20 || point.value == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned>(point.value));
    } else if ((point.value >= 0x80 && point.value < 0xA0) || in_ranges(kInvisible, point.value)) {
      fmt::format_to(std::back_inserter(out), "\\u{{{:x}}}", static_cast<unsigned>(point.value));
    } else {
      out.append(name, i, point.size);
    }
    i += point.size;
  }
  return out;
}

// Control characters must not reach a terminal: $'…' writes them as numbers (bash, zsh, ksh).
std::string shell_word(std::string_view text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_./-:@%+,=").find(c) != std::string_view::npos;
  };
  if (!text.empty() && text.front() != '=' && std::all_of(text.begin(), text.end(), is_plain))
    return std::string(text);
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  const bool numbers = std::any_of(text.begin(), text.end(), is_control) || find_invalid_utf8(text);
  std::string word = numbers ? "$'" : "'";
  for (const char c : text) {
    if (c == '\'')
      word += numbers ? "\\'" : "'\\''";
    else if (numbers && c == '\\')
      word += "\\\\";
    else if (numbers && !(c >= 0x20 && c < 0x7F))
      word += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    else
      word += c;
  }
  return word += '\'';
}

std::string quoted_name(std::string_view name) {
  return "'" + escape_name(name) + "'";
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    width += column_width(point.value);
    i += point.size;
  }
  return width;
}

std::string shorten(std::string_view text, std::size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  std::string out;
  std::size_t width = 1;  // the ellipsis
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    width += column_width(point.value);
    if (width > columns) break;
    out.append(text, i, point.size);
    i += point.size;
  }
  return out + "…";
}

std::string shorten_middle(std::string_view text, std::size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns < 2) return shorten(text, columns);
  std::string out = shorten(text, (columns + 2) / 3);
  const std::size_t room = columns - display_width(out);
  std::size_t begin = 0;
  for (std::size_t left = display_width(text); left > room;) {
    const CodePoint point = decode_utf8(text, begin);
    left -= column_width(point.value);
    begin += point.size;
  }
  return out + std::string(text.substr(begin));
}

std::string wrap(std::string_view text, std::size_t columns, std::size_t indent) {
  std::string out;
  std::size_t column = indent;
  bool first = true;
  for (const std::string_view word : split(text, ' ')) {
    const std::size_t width = display_width(word);
    if (columns > 0 && column > indent && column + 1 + width > columns) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    first = false;
    out += word;
    column += width;
  }
  return out;
}

std::string group_digits(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t i = digits.size(); i > 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  std::size_t start = 0;
  for (std::size_t end = text.find(separator); end != std::string_view::npos;
       end = text.find(separator, start)) {
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  parts.push_back(text.substr(start));
  return parts;
}

bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

bool is_lower_hex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string lower_ascii(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const std::string& part : parts) {
    if (&part != &parts.front()) out += separator;
    out += part;
  }
  return out;
}

std::string plural(std::uint64_t count, std::string_view singular) {
  return group_digits(count) + " " + std::string(singular) + (count == 1 ? "" : "s");
}

}  // namespace mu
