// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/glob.h"
#include "base/rename.h"
#include "base/sizes.h"
#include "base/text.h"
#include "testing.h"

using namespace mu;
using mu::testing::error_of;

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

}  // namespace

TEST_CASE("checked: the largest result that fits and the first that does not") {
  CHECK(checked_add(kMax, 0) == kMax);
  CHECK(checked_add(kMax - 1, 1) == kMax);
  CHECK_FALSE(checked_add(kMax, 1).has_value());
  CHECK_FALSE(checked_add(kMax, kMax).has_value());
  CHECK(checked_mul(kMax, 1) == kMax);
  CHECK(checked_mul(kMax, 0) == 0);
  CHECK(checked_mul(std::uint64_t{1} << 32, (std::uint64_t{1} << 32) - 1) ==
        kMax - ((std::uint64_t{1} << 32) - 1));
  CHECK_FALSE(checked_mul(std::uint64_t{1} << 32, std::uint64_t{1} << 32).has_value());
}

TEST_CASE("bytes: numbers at any address") {
  std::byte buffer[16] = {};
  for (std::size_t at = 0; at < 8; ++at) {
    store_le(buffer + at, std::uint64_t{0x0102030405060708});
    CHECK(buffer[at] == std::byte{8});
    CHECK(load_le<std::uint64_t>(buffer + at) == 0x0102030405060708);
    CHECK(load_le<std::int16_t>(buffer + at) == 0x0708);
  }
  store_le(buffer, -1.5F);
  CHECK(load_le<std::uint32_t>(buffer) == 0xBFC00000U);
}

TEST_CASE("bytes: a reader never leaves its buffer") {
  ByteReader reader(as_bytes("abcdef"));
  CHECK(as_text(reader.take(2)) == "ab");
  CHECK(reader.take_le<std::uint16_t>() == 0x6463);
  CHECK(reader.offset() == 4);
  CHECK(error_of([&] { reader.take_le<std::uint32_t>(); }) == ErrorKind::kMalformed);
  CHECK(error_of([&] { reader.take(std::numeric_limits<std::size_t>::max()); }) == ErrorKind::kMalformed);
  CHECK(reader.offset() == 4);  // a failed read takes nothing
  CHECK(as_text(reader.take(2)) == "ef");
  CHECK(reader.remaining() == 0);
  CHECK(reader.take(0).empty());
}

TEST_CASE("error: kinds map to the promised exit codes") {
  const std::pair<ErrorKind, int> rows[] = {{ErrorKind::kAnswerNo, 1}, {ErrorKind::kUsage, 2},
                                            {ErrorKind::kPartial, 3},  {ErrorKind::kMalformed, 4},
                                            {ErrorKind::kRefused, 5},  {ErrorKind::kRemote, 6},
                                            {ErrorKind::kIo, 7},       {ErrorKind::kTemporary, 75}};
  for (const auto& [kind, code] : rows) CHECK(exit_code(kind) == code);
}

TEST_CASE("error: parts that are not known leave no trace") {
  CHECK(std::string(refused("no").what()) == "no");
  CHECK(std::string(usage("no").at("here").what()) == "here: no");
  CHECK(std::string(io_error("open", ENOENT).what()) == "cannot open: No such file or directory");
  CHECK(std::string(io_error("open", ENOENT, "a").hint("b").what()) ==
        "a: cannot open: No such file or directory; b");
  CHECK(io_error("open", ENOENT, "a").kind() == ErrorKind::kIo);
  const Error copy = malformed("m").in_file("f");
  CHECK(copy.message() == "m");
  CHECK(copy.file() == "f");
}

TEST_CASE("glob: sets as fnmatchcase reads them") {
  struct Row {
    const char* pattern;
    const char* text;
    bool matches;
  };
  // Expected values from Python 3.11's fnmatch.fnmatchcase.
  const Row rows[] = {
      {"[a-]", "-", true},
      {"[-a]", "-", true},
      {"[--0]", ".", true},
      {"[a-c-e]", "-", true},
      {"[a-c-e]", "d", false},
      {"[!!]", "!", false},
      {"[!!]", "a", true},
      {"[^a]", "^", true},
      {"[^a]", "b", false},
      {"[]-]", "-", true},
      {"[!]-]", "]", false},
      {"[]]]", "]]", true},
      {"[[]", "[", true},
      {"[*?]", "*", true},
      {"[*?]", "x", false},
      {"[\\]", "\\", true},
      {"[a", "a", false},
      {"[a", "[a", true},
      {"[!", "[!", true},
      {"[]", "[]", true},
      {"a]", "a]", true},
      {"*[0-9]*", "x7y", true},
      {"*\n*", "a\nb", true},
      {"?", "\n", true},
      {"????", "h\xC3\xA9llo", false},
      {"?????", "h\xC3\xA9llo", true},
      {"[!\xC3\xA9]", "e", true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.pattern);
    CAPTURE(row.text);
    CHECK(Glob(row.pattern).matches(row.text) == row.matches);
  }
  CHECK(Glob("a*").pattern() == "a*");
}

TEST_CASE("glob: stars never cost more than a square") {
  const std::string text(20'000, 'a');
  CHECK_FALSE(Glob("*a*a*a*a*a*a*a*a*a*ab").matches(text));
  CHECK(Glob(std::string(5'000, '*') + "a").matches(text));
}

TEST_CASE("glob: any of several") {
  const std::vector<Glob> globs = {Glob("a*"), Glob("*z")};
  CHECK(matches_any(globs, "ab"));
  CHECK(matches_any(globs, "bz"));
  CHECK_FALSE(matches_any(globs, "b"));
  CHECK_FALSE(matches_any({}, "b"));
}

TEST_CASE("rename: rules follow one another") {
  CHECK(rename_all({Rename("s/a/b/"), Rename("s/b/c/g")}, "aab") == "cac");
  CHECK(rename_all({}, "x") == "x");
}

TEST_CASE("rename: groups, delimiters and empty replacements as sed -E") {
  struct Row {
    const char* rule;
    const char* name;
    const char* result;
  };
  const Row rows[] = {{R"(s/(.)(.)(.)(.)(.)(.)(.)(.)(.)/\9\8\7\6\5\4\3\2\1/)", "abcdefghi", "ihgfedcba"},
                      {R"(s/(a|b)+/<\1>/)", "abab.", "<b>."},
                      {"s/a//g", "banana", "bnn"},
                      {"s,a/b,c/d,", "a/b", "c/d"},
                      {R"(s/\//./g)", "a/b/c", "a.b.c"},
                      {R"(s/\\/x/)", R"(a\b)", "axb"},
                      {R"(s/a/\\/)", "a", R"(\)"},
                      {"s/[0-9]+$/N/", "layer.12", "layer.N"},
                      {"s/(x)|a/[\\1]/g", "axa", "[][x][]"},
                      {"s/a/b/", "", ""}};
  for (const Row& row : rows) {
    CAPTURE(row.rule);
    CHECK(Rename(row.rule).apply(row.name) == row.result);
  }
}

// sed does not replace an empty match right behind a match.
TEST_CASE("rename: with g an empty match does not follow a match") {
  CHECK(Rename("s/x*/-/g").apply("baxxc") == "-b-a-c-");
  CHECK(Rename("s/b*/<&>/g").apply("abb") == "<>a<bb>");
  CHECK(Rename("s/a?/-/g").apply("aab") == "--b-");
}

TEST_CASE("sizes: units in any case, blanks around, and the ends of the range") {
  const std::pair<const char*, std::uint64_t> rows[] = {
      {"5gb", 5'000'000'000},
      {" 5 GB ", 5'000'000'000},
      {"2k", 2000},
      {"2KiB", 2048},
      {"2Ki", 2048},
      {"1tb", 1'000'000'000'000},
      {"1TiB", 1'099'511'627'776},
      {"7B", 7},
      {"1.005KB", 1004},  // int(1.005 * 1000), as Python counts
      {"4.35GB", 4'350'000'000},
      {"9007199254740992", 9'007'199'254'740'992}};
  for (const auto& [text, bytes] : rows) {
    CAPTURE(text);
    CHECK(parse_size(text) == bytes);
  }
  for (const char* wrong : {" ", ".", "1.2.3", "1e", "KB5", "5 0", "-0.5GB", "18446744073709551616", "1e400",
                            "+5", "1_000", "5,0GB", "5KiBB"}) {
    CAPTURE(wrong);
    CHECK(error_of([&] { parse_size(wrong); }) == ErrorKind::kUsage);
  }
}

TEST_CASE("sizes: each unit begins where it should") {
  CHECK(format_size(1) == "1 B");
  CHECK(format_size(9'999) == "9.999 KB");
  CHECK(format_size(10'000) == "10.00 KB");
  CHECK(format_size(999'949) == "999.9 KB");
  CHECK(format_size(1'000'000'000) == "1.000 GB");
  CHECK(format_size(1'500'000'000'000) == "1.500 TB");
  CHECK(format_size(kMax) == "18.45 EB");
}

TEST_CASE("text: every code point is decoded as it was encoded, surrogates are not") {
  std::size_t wrong = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    const CodePoint point = decode_utf8(text, 0);
    if (!point.valid || point.value != c || point.size != text.size()) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("text: the place of a bad byte is exact wherever it stands") {
  for (std::size_t at = 0; at < 40; ++at) {
    for (const char* bad : {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
                            "\xF5\x80\x80\x80", "\xFE", "\xC3", "\xF0\x9F\x98"}) {
      CHECK(find_invalid_utf8(std::string(at, 'a') + bad + "") == at);
      CHECK(find_invalid_utf8(std::string(at, 'a') + "é" + bad + "a") == at + 2);
    }
  }
}

TEST_CASE("text: any bytes at all become one line of printable UTF-8") {
  std::string all;
  for (unsigned c = 0; c < 256; ++c) all += static_cast<char>(c);
  for (const std::string& text : {all, "\xE2" + all, std::string("\u2066\u2069\uFEFF\u061C\u00AD")}) {
    const std::string escaped = escape_name(text);
    CHECK_FALSE(find_invalid_utf8(escaped).has_value());
    for (std::size_t i = 0; i < escaped.size();) {
      const CodePoint point = decode_utf8(escaped, i);
      CHECK(point.value >= 0x20);
      CHECK((point.value < 0x7F || point.value > 0x9F));
      i += point.size;
    }
  }
  // A name that looks escaped can't pass for one that was.
  CHECK(escape_name("a\\n") != escape_name("a\n"));
}

TEST_CASE("text: shortening never cuts a character and never grows") {
  const std::string text = "aé漢😀e\u0301b";
  for (std::size_t columns = 1; columns < 12; ++columns) {
    const std::string shorter = shorten(text, columns);
    CAPTURE(shorter);
    CHECK(display_width(shorter) <= columns);
    CHECK_FALSE(find_invalid_utf8(shorter).has_value());
  }
  CHECK(shorten("", 0).empty());
}

TEST_CASE("text: splitting and joining") {
  CHECK(split("", ',') == std::vector<std::string_view>{""});
  CHECK(split(",", ',') == std::vector<std::string_view>{"", ""});
  CHECK(split("a,b", ',') == std::vector<std::string_view>{"a", "b"});
  CHECK(join({}, ", ").empty());
  CHECK(join({"a"}, ", ") == "a");
  CHECK(join({"a", "b"}, ", ") == "a, b");
  CHECK(trim("").empty());
  CHECK(trim(" \r\n").empty());
  CHECK(group_digits(kMax) == "18,446,744,073,709,551,615");
  CHECK(group_digits(1000) == "1,000");
  CHECK(plural(0, "byte") == "0 bytes");
}
