// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle/literals.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/text.h"
#include "weights/pickle/pickle.h"

namespace mu {
namespace {

std::optional<std::uint32_t> hex_at(std::string_view text, std::size_t at, std::size_t digits) {
  std::uint32_t value = 0;
  if (at + digits > text.size()) return std::nullopt;
  const char* const end = text.data() + at + digits;
  const std::from_chars_result parsed = std::from_chars(text.data() + at, end, value, 16);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional(value) : std::nullopt;
}

}  // namespace

bool is_python_utf8(std::string_view text) {
  while (const std::optional<std::size_t> bad = find_invalid_utf8(text)) {
    const std::string_view rest = text.substr(*bad);
    const bool surrogate = rest.size() >= 3 && static_cast<unsigned char>(rest[0]) == 0xED &&
                           (static_cast<unsigned char>(rest[1]) & 0xE0) == 0xA0 &&
                           (static_cast<unsigned char>(rest[2]) & 0xC0) == 0x80;
    if (!surrogate) return false;
    text = rest.substr(3);
  }
  return true;
}

std::variant<std::int64_t, std::string_view> parse_integer_line(std::string_view line, bool is_long) {
  if (is_long && line.ends_with('L')) line.remove_suffix(1);
  const std::string_view digits = line.starts_with('-') ? line.substr(1) : line;
  if (digits.size() > Pickle::kMaxNumber)
    throw PickleStop{fmt::format("a number has {} digits", digits.size())};
  if (!is_digits(digits)) throw PickleStop{"a whole number is not written in digits"};
  std::int64_t value = 0;
  if (std::from_chars(line.data(), line.data() + line.size(), value).ec == std::errc()) return value;
  return line;
}

std::variant<std::int64_t, std::string> parse_integer_bytes(std::string_view bytes) {
  const bool negative = !bytes.empty() && static_cast<signed char>(bytes.back()) < 0;
  if (bytes.size() <= 8) {
    std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    return static_cast<std::int64_t>(value);
  }
  // The magnitude of two's complement: inverted bits plus one.
  std::string digits;
  unsigned carry = 1;
  for (const char c : bytes) {
    unsigned value = static_cast<unsigned char>(c);
    if (negative) {
      value = (value ^ 0xFFU) + carry;
      carry = value >> 8;
      value &= 0xFFU;
    }
    digits.insert(0, fmt::format("{:02x}", value));
  }
  return (negative ? "-0x" : "0x") + digits;
}

double parse_float_line(std::string_view line) {
  if (line.size() > Pickle::kMaxNumber) throw PickleStop{fmt::format("a number has {} digits", line.size())};
  const std::string text(line);
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') throw PickleStop{"a number can't be read"};
  return value;
}

std::string parse_string_line(std::string_view line) {
  if (line.size() < 2 || (line.front() != '\'' && line.front() != '"') || line.back() != line.front())
    throw PickleStop{"a string is not quoted"};
  const std::string_view text = line.substr(1, line.size() - 2);
  constexpr std::string_view kEscapes = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char next = text[i + 1];
    if (const std::size_t known = kEscapes.find(next); known != std::string_view::npos) {
      out += kMeanings[known];
      ++i;
    } else if (next == 'x') {
      const std::optional<std::uint32_t> value = hex_at(text, i + 2, 2);
      if (!value) throw PickleStop{"a string has a broken escape"};
      out += static_cast<char>(*value);
      i += 3;
    } else if (is_octal(next)) {
      unsigned value = 0;
      std::size_t digits = 0;
      while (digits < 3 && i + 1 + digits < text.size() && is_octal(text[i + 1 + digits]))
        value = value * 8 + static_cast<unsigned>(text[i + 1 + digits++] - '0');
      out += static_cast<char>(value & 0xFFU);
      i += digits;
    } else {
      out += text[i];  // an unknown escape is kept as it is
    }
  }
  return out;
}

std::string parse_unicode_line(std::string_view line) {
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char next = line[i] == '\\' && i + 1 < line.size() ? line[i + 1] : '\0';
    const std::size_t digits = next == 'u' ? 4 : next == 'U' ? 8 : 0;
    if (digits == 0) {
      append_utf8(out, static_cast<unsigned char>(line[i]));  // Latin-1
      if (next == '\\') out += line[++i];                     // the second of a pair begins no escape
      continue;
    }
    const std::optional<std::uint32_t> value = hex_at(line, i + 2, digits);
    if (!value || *value > 0x10FFFF) throw PickleStop{"a text has a broken escape"};
    append_utf8(out, static_cast<char32_t>(*value));
    i += 1 + digits;
  }
  return out;
}

}  // namespace mu
