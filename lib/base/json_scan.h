// SPDX-License-Identifier: Apache-2.0
// A strict pull scanner for JSON of 100 MB: the headers of safetensors files. It accepts exactly what
// serde_json accepts (the reference reader's parser) and reports byte offsets. On a header of 500,000 tensors
// it is several times faster than nlohmann's event parser; this matters because st-inspect runs for a
// millisecond and spends most of it here. What Python's json module writes beyond that (bare NaN and Infinity
// in the logs of a training run) is accepted when asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace mu {

// What is wrong with the text, and where.
class JsonScanError : public Error {
 public:
  JsonScanError(std::size_t offset, std::string message)
      : Error(ErrorKind::kMalformed, std::move(message)), offset_(offset) {
    at("byte " + std::to_string(offset));
  }
  [[nodiscard]] std::size_t offset() const { return offset_; }

 private:
  std::size_t offset_;
};

enum class JsonDialect : std::uint8_t {
  kStrict,  // serde_json's
  // Python's: bare NaN, Infinity and -Infinity are numbers, a number too large is infinite, and a lone
  // surrogate escape reads as U+FFFD.
  kPython,
};

struct JsonNumber {
  double value;
  std::string_view text;  // as written; borrows from the scanned text
  // Its value if it is written as an unsigned whole number that fits 64 bits.
  [[nodiscard]] std::optional<std::uint64_t> as_u64() const;
};

// Scans well-formed UTF-8 that it borrows. Every function skips blanks first and throws JsonScanError.
class JsonScanner {
 public:
  // Containers may nest this deep, counted from the outermost bracket (serde_json's recursion limit).
  static constexpr int kMaxDepth = 127;

  // `base` is added to the offsets in messages and by offset(): where the text starts in its file.
  explicit JsonScanner(std::string_view text, std::size_t base = 0,
                       JsonDialect dialect = JsonDialect::kStrict)
      : text_(text), base_(base), dialect_(dialect) {}

  // The next character that is not a blank, without taking it; '\0' at the end.
  char peek() {
    skip_blanks();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  // Takes `c` when it comes next.
  bool take(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c, std::string_view what) {
    if (!take(c)) missing(what);
  }
  // Throws unless only blanks are left.
  void expect_end();

  // A string. Points into the text or, when it held escapes, into `scratch`.
  std::string_view string(std::string& scratch);
  // A whole number without sign, fraction or exponent that fits 64 bits. `what` names it in the message.
  std::uint64_t unsigned_number(std::string_view what);
  // Any number. If something else comes next, returns nothing and takes nothing.
  std::optional<JsonNumber> take_number();
  bool take_null();
  // Any value, checked and dropped. `depth`: brackets open around it.
  void skip_value(int depth);

  // Offset of the next character that has not been taken.
  [[nodiscard]] std::size_t offset() const { return base_ + at_; }
  [[nodiscard]] JsonScanError error(std::string_view why) const { return error_at(at_, why); }

 private:
  [[nodiscard]] JsonScanError error_at(std::size_t at, std::string_view why) const;
  [[noreturn]] void missing(std::string_view what) const;
  void skip_blanks() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }
  double number();
  std::optional<double> take_word();
  void skip_container(int depth);
  void unescape(std::string& out);
  unsigned hex4();

  std::string_view text_;
  std::size_t base_;
  JsonDialect dialect_;
  std::size_t at_ = 0;
};

}  // namespace mu
