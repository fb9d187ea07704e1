// SPDX-License-Identifier: Apache-2.0
// Text that people read: UTF-8, names made safe for a terminal, widths, plain number formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// Byte offset of the first byte that is not part of well-formed UTF-8 (RFC 3629: no overlong forms, no
// surrogates, at most U+10FFFF); nothing when all of it is.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

// One code point and the bytes it took. Malformed input yields the single byte as its value with valid=false.
struct CodePoint {
  char32_t value;
  std::size_t size;
  bool valid;
};
CodePoint decode_utf8(std::string_view text, std::size_t offset);
void append_utf8(std::string& out, char32_t code_point);

// A name as one line of terminal-safe text: backslash as \\, control characters as \n, \t, \r or \xNN,
// invalid bytes as \xNN, invisible and direction-changing characters as \u{N}. Everything else stays.
std::string escape_name(std::string_view name);
// The same between quotation marks, as messages name tensors and settings: 'x.weight'.
std::string quoted_name(std::string_view name);
// As one word of a command for a shell, in quotes where it needs them.
std::string shell_word(std::string_view text);

// Columns a terminal uses for escaped UTF-8 text: 0 for combining marks, 2 for wide East Asian and emoji.
std::size_t display_width(std::string_view text);

// At most `columns` wide, with an ellipsis where something was cut.
std::string shorten(std::string_view text, std::size_t columns);
// The same, cut in the middle, because names differ mostly at their beginning and end.
std::string shorten_middle(std::string_view text, std::size_t columns);

// Breaks the text at blanks so that no line passes column `columns` (0: no limit). Lines begin in column
// `indent`; the caller indents the first one. A word that is longer stays whole.
std::string wrap(std::string_view text, std::size_t columns, std::size_t indent);

std::string group_digits(std::uint64_t number);  // 1234567 -> "1,234,567"
std::string lower_ascii(std::string_view text);
// One ASCII digit or more and nothing else: decimal, and hexadecimal as hashes are written (0-9, a-f).
bool is_digits(std::string_view text);
bool is_lower_hex(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);  // without surrounding blanks, tabs and line ends
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string plural(std::uint64_t count, std::string_view singular);  // "1 file", "2,000 files"

}  // namespace mu
