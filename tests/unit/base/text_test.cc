// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;

TEST_CASE("text: malformed UTF-8 is found where it starts") {
  CHECK_FALSE(find_invalid_utf8("plain, é, 😀, \xF4\x8F\xBF\xBF").has_value());
  CHECK(find_invalid_utf8("12345678\xFF") == 8);
  CHECK(find_invalid_utf8("a\xC0\xAF") == 1);         // overlong
  CHECK(find_invalid_utf8("ab\xED\xA0\xBD") == 2);    // surrogate
  CHECK(find_invalid_utf8("\xE2\x82") == 0);          // cut
  CHECK(find_invalid_utf8("\xF4\x90\x80\x80") == 0);  // beyond U+10FFFF
  CHECK(find_invalid_utf8("\xE0\x80\x80") == 0);
}

TEST_CASE("text: names can't move the cursor") {
  CHECK(escape_name("a\x1b[2J\n\t\\") == "a\\x1b[2J\\n\\t\\\\");
  CHECK(escape_name("\xFF\x7F") == "\\xff\\x7f");
  CHECK(escape_name("a\u202Eb\u200B\u009B") == "a\\u{202e}b\\u{200b}\\u{9b}");
  CHECK(escape_name("é漢😀") == "é漢😀");
}

TEST_CASE("text: widths and shortening count columns") {
  CHECK(display_width("aé漢😀e\u0301") == 7);
  CHECK(shorten("abcdef", 6) == "abcdef");
  CHECK(shorten("abcdef", 4) == "abc…");
  CHECK(shorten("漢漢漢", 4) == "漢…");
  CHECK(shorten_middle("abcdefghij", 10) == "abcdefghij");
  CHECK(shorten_middle("abcdefghij", 7) == "ab…ghij");
  CHECK(shorten_middle("漢漢漢漢漢", 7) == "漢…漢漢");
  CHECK(shorten_middle("e\u0301\u0301abcdefgh", 4) == "e\u0301\u0301…gh");
  CHECK(shorten_middle("abcdef", 1) == "…");
}

TEST_CASE("text: lines break at blanks, and are longer than asked for only for a long word") {
  CHECK(wrap("a bb ccc", 0, 2) == "a bb ccc");
  CHECK(wrap("a bb ccc", 10, 2) == "a bb ccc");
  CHECK(wrap("a bb ccc", 9, 2) == "a bb\n  ccc");
  CHECK(wrap("a bb ccc d", 7, 2) == "a bb\n  ccc d");
  CHECK(wrap("abcdefghij k", 5, 1) == "abcdefghij\n k");
  CHECK(wrap("abc d", 2, 4) == "abc\n    d");
  CHECK(wrap("  a  b", 80, 0) == "  a  b");
}

TEST_CASE("text: small helpers") {
  CHECK(group_digits(0) == "0");
  CHECK(group_digits(999) == "999");
  CHECK(group_digits(1234567) == "1,234,567");
  CHECK(plural(1, "file") == "1 file");
  CHECK(plural(2000, "file") == "2,000 files");
  CHECK(split("a,,b", ',').size() == 3);
  CHECK(trim(" \t a b\r\n") == "a b");
}

TEST_CASE("error: context is added once, the nearest first") {
  Error error = malformed("is wrong");
  error.at("byte 3").in_file("x").at("byte 9").in_file("y").hint("mend it");
  CHECK(std::string(error.what()) == "x: byte 3: is wrong; mend it");
  CHECK(exit_code(ErrorKind::kTemporary) == 75);
}

TEST_CASE("text: a word for the shell is in quotes where it needs them, and without control characters") {
  const std::pair<std::string_view, std::string_view> table[] = {
      {"hf://o/n@main:0.5", "hf://o/n@main:0.5"},
      {"--dtype=bf16", "--dtype=bf16"},
      {"", "''"},
      {"=cat", "'=cat'"},
      {"a b", "'a b'"},
      {"$(rm -r ~)*", "'$(rm -r ~)*'"},
      {"it's", "'it'\\''s'"},
      {"\xc3\xa4", "'\xc3\xa4'"},
      {"a\n'\\\x1b[", "$'a\\012\\'\\\\\\033['"},
      {"\xff", "$'\\377'"},
  };
  for (const auto& [text, word] : table) CHECK(shell_word(text) == word);
}
