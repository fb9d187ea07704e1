// SPDX-License-Identifier: Apache-2.0
// How pickles spell numbers and texts (Lib/pickletools.py): the lines of protocol 0 and whole numbers of any
// size. Private to this folder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace mu {

// Why a pickle can't be read on; thrown inside the reader only.
struct PickleStop {
  std::string message;
  bool truncated = false;  // the data ended too early
};

// Well-formed UTF-8, or with lone surrogates as Python's "surrogatepass" lets them through.
bool is_python_utf8(std::string_view text);

// "-12", of LONG "-12L": a number, or the decimal text of one beyond 64 bits. Throws PickleStop.
std::variant<std::int64_t, std::string_view> parse_integer_line(std::string_view line, bool is_long);

// Two's complement, little-endian, of any length: a number, or "0x…" of one beyond 64 bits.
std::variant<std::int64_t, std::string> parse_integer_bytes(std::string_view bytes);

// Throws PickleStop.
double parse_float_line(std::string_view line);

// A quoted text with Python's escapes ("'a\\x41'"): its bytes. Throws PickleStop.
std::string parse_string_line(std::string_view line);
// Latin-1 with \uXXXX and \UXXXXXXXX ("raw-unicode-escape") as UTF-8. Throws PickleStop.
std::string parse_unicode_line(std::string_view line);

}  // namespace mu
