// SPDX-License-Identifier: Apache-2.0
#include "base/json_scan.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/text.h"

namespace mu {
namespace {

// Index of the first quote, backslash or control character at or after `at`; text.size() when there is none.
// Eight bytes at a time with the usual has-zero-byte trick (Mycroft 1987): the marks above the first hit may
// be false, the first is exact.
std::size_t find_string_stop(std::string_view text, std::size_t at) {
  constexpr std::uint64_t kOnes = 0x0101010101010101U;
  constexpr std::uint64_t kHighs = 0x8080808080808080U;
  while (at + 8 <= text.size()) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    const std::uint64_t quote = word ^ (kOnes * '"');
    const std::uint64_t backslash = word ^ (kOnes * '\\');
    const std::uint64_t stop =
        (((quote - kOnes) & ~quote) | ((backslash - kOnes) & ~backslash) | ((word - kOnes * 0x20U) & ~word)) &
        kHighs;
    if (stop != 0) return at + static_cast<std::size_t>(std::countr_zero(stop)) / 8;
    at += 8;
  }
  while (at < text.size() && text[at] != '"' && text[at] != '\\' &&
         static_cast<unsigned char>(text[at]) >= 0x20) {
    ++at;
  }
  return at;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

JsonScanError JsonScanner::error_at(std::size_t at, std::string_view why) const {
  return {base_ + at, fmt::format("not valid JSON: {}", why)};
}

void JsonScanner::missing(std::string_view what) const {
  if (at_ >= text_.size()) throw error(fmt::format("it ends where {} should be", what));
  throw error(fmt::format("expected {}", what));
}

void JsonScanner::expect_end() {
  skip_blanks();
  if (at_ < text_.size()) throw error("something follows the closing brace");
}

std::string_view JsonScanner::string(std::string& scratch) {
  expect('"', "a string");
  const std::size_t begin = at_;
  at_ = find_string_stop(text_, at_);
  if (at_ < text_.size() && text_[at_] == '"') return text_.substr(begin, at_++ - begin);
  scratch.assign(text_, begin, at_ - begin);
  while (true) {
    if (at_ >= text_.size()) throw error_at(begin - 1, "unterminated string");
    if (text_[at_] == '"') break;
    if (text_[at_] != '\\') throw error("a string holds an unescaped control character");
    unescape(scratch);
    const std::size_t piece = at_;
    at_ = find_string_stop(text_, at_);
    scratch.append(text_, piece, at_ - piece);
  }
  ++at_;
  return scratch;
}

void JsonScanner::unescape(std::string& out) {
  const std::size_t begin = at_;
  ++at_;
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  if (const std::size_t letter = kLetters.find(c); letter != std::string_view::npos) {
    out += kMeanings[letter];
    return;
  }
  if (c != 'u') throw error_at(begin, "a string holds an unknown escape");
  char32_t value = hex4();
  const std::size_t behind = at_;
  if (value >= 0xD800 && value <= 0xDBFF && text_.substr(at_, 2) == "\\u") {
    at_ += 2;
    const char32_t low = hex4();
    if (low >= 0xDC00 && low <= 0xDFFF) value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
  }
  if (value >= 0xD800 && value <= 0xDFFF) {
    if (dialect_ == JsonDialect::kStrict) throw error_at(begin, "a surrogate escape lacks its pair");
    at_ = behind;  // the second escape stands for itself
    value = 0xFFFD;
  }
  append_utf8(out, value);
}

unsigned JsonScanner::hex4() {
  unsigned value = 0;
  const char* const begin = text_.data() + at_;
  const char* const end = begin + (text_.size() - at_ < 4 ? text_.size() - at_ : 4);
  const std::from_chars_result parsed = std::from_chars(begin, end, value, 16);
  if (parsed.ec != std::errc() || parsed.ptr != begin + 4)
    throw error("a \\u escape needs four hexadecimal digits");
  at_ += 4;
  return value;
}

std::uint64_t JsonScanner::unsigned_number(std::string_view what) {
  skip_blanks();
  const std::size_t begin = at_;
  std::uint64_t value = 0;
  const std::from_chars_result parsed =
      std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
  at_ = static_cast<std::size_t>(parsed.ptr - text_.data());
  if (parsed.ec == std::errc::invalid_argument)
    throw error_at(begin, fmt::format("{} is not a number from 0 up", what));
  if (parsed.ec != std::errc()) throw error_at(begin, fmt::format("{} does not fit 64 bits", what));
  if (text_[begin] == '0' && at_ > begin + 1) throw error_at(begin, "a number starts with a needless 0");
  if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) {
    throw error_at(begin, fmt::format("{} is not a whole number", what));
  }
  return value;
}

bool JsonScanner::take_null() {
  skip_blanks();
  if (text_.substr(at_, 4) != "null") return false;
  at_ += 4;
  return true;
}

std::optional<std::uint64_t> JsonNumber::as_u64() const {
  std::uint64_t whole = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result parsed = std::from_chars(text.data(), end, whole);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return whole;
}

std::optional<JsonNumber> JsonScanner::take_number() {
  const char c = peek();
  const std::size_t begin = at_;
  std::optional<double> value = take_word();
  if (!value && c != '-' && !is_digit(c)) return std::nullopt;
  if (!value) value = number();
  return JsonNumber{*value, text_.substr(begin, at_ - begin)};
}

// The bare words that Python writes.
std::optional<double> JsonScanner::take_word() {
  if (dialect_ == JsonDialect::kStrict) return std::nullopt;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr std::pair<std::string_view, double> kWords[] = {
      {"NaN", std::numeric_limits<double>::quiet_NaN()}, {"Infinity", kInfinity}, {"-Infinity", -kInfinity}};
  const std::string_view rest = text_.substr(at_);
  for (const auto& [word, value] : kWords) {
    if (!rest.starts_with(word)) continue;
    at_ += word.size();
    return value;
  }
  return std::nullopt;
}

double JsonScanner::number() {
  const std::size_t begin = at_;
  const auto digits = [this] {
    const std::size_t first = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ == first) throw error("a number lacks digits");
    return at_ - first;
  };
  if (text_[at_] == '-') ++at_;
  const std::size_t integer = at_;
  if (digits() > 1 && text_[integer] == '0') throw error_at(begin, "a number starts with a needless 0");
  if (at_ < text_.size() && text_[at_] == '.') {
    ++at_;
    digits();
  }
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    ++at_;
    if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
    digits();
  }
  double value = 0;
  const std::from_chars_result parsed = std::from_chars(text_.data() + begin, text_.data() + at_, value);
  if (parsed.ec != std::errc::result_out_of_range) return value;
  // Too small becomes 0 and is fine, too large is not.
  value = std::strtod(std::string(text_.substr(begin, at_ - begin)).c_str(), nullptr);
  if (std::isinf(value) && dialect_ == JsonDialect::kStrict)
    throw error_at(begin, "a number is out of range");
  return value;
}

void JsonScanner::skip_container(int depth) {
  const char open = text_[at_++];
  const char close = open == '{' ? '}' : ']';
  if (depth + 1 > kMaxDepth) throw error_at(at_ - 1, fmt::format("nested deeper than {} levels", kMaxDepth));
  std::string scratch;
  if (take(close)) return;
  do {
    if (open == '{') {
      string(scratch);
      expect(':', "':'");
    }
    skip_value(depth + 1);
  } while (take(','));
  expect(close, open == '{' ? "',' or '}'" : "',' or ']'");
}

void JsonScanner::skip_value(int depth) {
  const char c = peek();
  if (c == '{' || c == '[') {
    skip_container(depth);
  } else if (c == '"') {
    std::string scratch;
    string(scratch);
  } else if (!take_number()) {
    for (const std::string_view word : {"true", "false", "null"}) {
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return;
    }
    throw error(at_ >= text_.size() ? "it ends where a value should be" : "expected a value");
  }
}

}  // namespace mu
