// SPDX-License-Identifier: Apache-2.0
// The syntax of Python's re (3.11 and newer, patterns of type str) turned into that of PCRE2. Everything is
// read by the rules of Python's own parser and written anew in forms that mean one thing only, so nothing that
// PCRE2 alone knows (verbs, \K, \R, POSIX classes, recursion) can pass. Source: CPython 3.11, re/_parser.py.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace mu {

struct RegexSyntax {
  std::string text;                           // for PCRE2, with its options UTF and UCP and '\n' as line end
  std::map<std::string, std::size_t> groups;  // numbers of named groups
  // Case is ignored somewhere. Python and Unicode disagree there on a few letters, so then pattern and text
  // must be ASCII.
  bool ignores_case = false;
  // How many members the largest set has: what one character of a text can cost.
  std::size_t largest_set = 1;
};

// Throws kMalformed with the reason, without the pattern: for what Python's re refuses, and for what has no exact
// counterpart.
RegexSyntax translate_regex(std::string_view pattern);

}  // namespace mu
