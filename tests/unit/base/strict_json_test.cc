// SPDX-License-Identifier: Apache-2.0
// What the two JSON readers accept, case by case: serde_json's verdicts for headers, Python's for documents.
#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/json_write.h"
#include "testing.h"

using namespace mu;
using mu::testing::error_of;

namespace {

// True when the scanner takes the whole text as one value.
bool scans(std::string_view text) {
  return !error_of([&] {
            JsonScanner scanner(text);
            scanner.skip_value(0);
            scanner.expect_end();
          }).has_value();
}

std::size_t scan_error_offset(std::string_view text, std::size_t base) {
  try {
    JsonScanner scanner(text, base);
    scanner.skip_value(0);
    scanner.expect_end();
  } catch (const JsonScanError& error) {
    return error.offset();
  }
  return std::string::npos;
}

std::string blanks(std::mt19937& random) {
  std::string out;
  for (unsigned long i = random() % 3; i > 0; --i) out += " \t\r\n"[random() % 4];
  return out;
}

// A random document with random blanks around every token.
std::string random_json(std::mt19937& random, int depth) {
  static const std::vector<std::string> kScalars = {
      "null", "true",       "false",          "0",      "-0", "12", "1e-06", "-1.5E+3", "NaN", "-Infinity",
      "\"\"", "\"a\\\"b\"", R"("\u00e9,:]")", "\"NaN\""};
  const unsigned long choice = random() % (depth > 0 ? 4 : 2);
  if (choice < 2) return kScalars[random() % kScalars.size()];
  std::string out(1, choice == 2 ? '[' : '{');
  for (unsigned long i = 0, count = random() % 4; i < count; ++i) {
    out += (i > 0 ? "," : "") + blanks(random);
    if (choice == 3) out += "\"k" + std::to_string(i) + "\"" + blanks(random) + ":" + blanks(random);
    out += random_json(random, depth - 1) + blanks(random);
  }
  return out + blanks(random) + (choice == 2 ? ']' : '}');
}

// Every value's own bytes, parsed alone, are that value. Counts the values that were seen.
std::size_t check_places(const std::string& text, const JsonValue& value) {
  REQUIRE(value.begin() < value.end());
  REQUIRE(value.end() <= text.size());
  const std::string own = text.substr(value.begin(), value.end() - value.begin());
  const JsonValue alone = parse_json(own).root;
  CHECK(alone.kind() == value.kind());
  CHECK(alone.begin() == 0);
  CHECK(alone.end() == own.size());
  if (value.kind() == JsonValue::Kind::kNumber) CHECK(value.number_text() == own);
  if (value.as_string() != nullptr) CHECK(*alone.as_string() == *value.as_string());
  std::size_t seen = 1;
  for (const JsonValue& item : value.items()) seen += check_places(text, item);
  for (const JsonValue::Member& member : value.members()) seen += check_places(text, member.value);
  return seen;
}

}  // namespace

TEST_CASE("json_scan: values that serde_json takes") {
  for (const char* text : {"0",
                           "-0",
                           "-0.0",
                           "10",
                           "1.5",
                           "1e5",
                           "1E+5",
                           "1e-5",
                           "1e-999",
                           "123456789012345678901234567890",
                           "null",
                           "true",
                           "false",
                           "\"\"",
                           "[]",
                           "{}",
                           " [ 1 , 2 ] ",
                           "{\"a\":{\"b\":[]}}",
                           "\r\n\t[]\t",
                           R"("\u0000")",
                           "{\"a\":1,\"a\":2}"}) {
    CAPTURE(text);
    CHECK(scans(text));
  }
}

TEST_CASE("json_scan: values that serde_json refuses") {
  for (const char* text : {"",
                           " ",
                           "-",
                           "+1",
                           "01",
                           "-01",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "0x10",
                           "1e999",
                           "-1e999",
                           "NaN",
                           "Infinity",
                           "-Infinity",
                           "nul",
                           "True",
                           "'a'",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{,}",
                           "[",
                           "{",
                           "\"",
                           "[1]]",
                           "1 1",
                           "//x\n1",
                           "/*x*/1",
                           "\"\x1f\"",
                           R"("\u12g4")",
                           R"("\u-123")",
                           R"("\u 123")",
                           R"("\U0041")",
                           "\xEF\xBB\xBF[]"}) {
    CAPTURE(text);
    CHECK_FALSE(scans(text));
  }
  CHECK_FALSE(scans(std::string_view("[]\0", 3)));
}

TEST_CASE("json_scan: whole numbers from 0 to 2^64 - 1 and nothing else") {
  const auto number = [](std::string_view text) { return JsonScanner(text).unsigned_number("it"); };
  CHECK(number("0") == 0);
  CHECK(number(" \n7,") == 7);
  CHECK(number("18446744073709551615") == ~std::uint64_t{0});
  for (const char* text : {"18446744073709551616", "-1", "-0", "+1", "00", "01", "1.0", "1.", "1e0", "1E0",
                           "", "x", "\"1\"", "null"}) {
    CAPTURE(text);
    CHECK(error_of([&] { number(text); }) == ErrorKind::kMalformed);
  }
}

TEST_CASE("json_scan: 127 levels, counted from the outermost bracket") {
  const auto brackets = [](std::size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  const auto braces = [](std::size_t levels) {
    std::string text;
    for (std::size_t i = 1; i < levels; ++i) text += "{\"a\":";
    return text + "{}" + std::string(levels - 1, '}');
  };
  CHECK(scans(brackets(127)));
  CHECK_FALSE(scans(brackets(128)));
  CHECK(scans(braces(127)));
  CHECK_FALSE(scans(braces(128)));
  CHECK_FALSE(scans(std::string(1'000'000, '[')));
  CHECK(error_of([] { JsonScanner("[]").skip_value(127); }) == ErrorKind::kMalformed);
}

TEST_CASE("json_scan: errors give the byte of the file") {
  CHECK(scan_error_offset("[1, x]", 8) == 12);
  CHECK(scan_error_offset("[01]", 8) == 9);
  CHECK(scan_error_offset("\"ab", 0) == 0);
  CHECK(scan_error_offset("[] x", 100) == 103);
  CHECK(scan_error_offset(R"(["a\q"])", 0) == 3);
  JsonScanner scanner("  x", 8);
  CHECK(scanner.peek() == 'x');
  CHECK(scanner.offset() == 10);
  CHECK_FALSE(scanner.take('y'));
  CHECK(scanner.take('x'));
  CHECK(scanner.peek() == '\0');
}

TEST_CASE("json: every value of a random document knows its own bytes") {
  std::mt19937 random(5);
  std::size_t seen = 0;
  for (int round = 0; round < 1000; ++round) {
    const std::string text = blanks(random) + random_json(random, 4) + blanks(random);
    CAPTURE(text);
    seen += check_places(text, parse_json(text).root);
  }
  CHECK(seen > 1000);
}

TEST_CASE("json: duplicates are reported with the offset behind the repeated key, at every depth") {
  const std::string text = R"({"a":1,"b":{"c":1,"c":2},"a":3,"a":4})";
  const JsonDocument document = parse_json(text);
  REQUIRE(document.duplicates.size() == 3);
  for (const auto& [key, offset] : document.duplicates)
    CHECK(text.substr(offset - key.size() - 2, key.size() + 2) == "\"" + key + "\"");
  CHECK(document.duplicates[0].first == "c");
  CHECK(document.root.find("a")->as_u64() == 4);
  CHECK(document.root.members().size() == 4);
  CHECK(parse_json(R"([{"a":1},{"a":1}])").duplicates.empty());
  CHECK(parse_json(R"({"a":1,"\u0061":2})").duplicates.size() == 1);
}

TEST_CASE("json: a value gives only its own type") {
  const JsonValue root = parse_json(R"({"n":1.0,"u":7,"s":"7","t":true,"f":false,"z":null})").root;
  CHECK_FALSE(root.find("n")->as_u64().has_value());
  CHECK(root.find("n")->as_double() == 1.0);
  CHECK_FALSE(root.find("s")->as_u64().has_value());
  CHECK_FALSE(root.find("s")->as_double().has_value());
  CHECK(root.find("u")->as_string() == nullptr);
  CHECK(root.find("none") == nullptr);
  CHECK(root.find_u64("u") == 7);
  CHECK_FALSE(root.find_u64("none").has_value());
  CHECK(*root.find_string("s") == "7");
  CHECK(root.find_string("u") == nullptr);
  CHECK(root.find_true("t"));
  CHECK_FALSE(root.find_true("f"));
  CHECK_FALSE(root.find_true("u"));
  CHECK(root.find("z")->kind() == JsonValue::Kind::kNull);
  CHECK_FALSE(root.find("z")->as_bool().has_value());
}

TEST_CASE("json: a limit on depth is the caller's to set") {
  JsonLimits limits;
  limits.depth = 2;
  CHECK_FALSE(error_of([&] { parse_json("[[1],{}]", limits); }).has_value());
  CHECK(error_of([&] { parse_json("[[[]]]", limits); }) == ErrorKind::kMalformed);
}

// A bare word is masked as a number of its length, so the characters beside it must be checked, too.
TEST_CASE("json: a bare word glued to a digit or a sign is not a number") {
  for (const char* text : {"NaN5", "1NaN", "-NaN", "NaNe1", "1Infinity", "-Infinity0", "[1,NaN2]"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_json(text); }) == ErrorKind::kMalformed);
  }
}

TEST_CASE("json: a bare word in a wrong place is refused") {
  for (const char* text :
       {"NaN NaN", "NaN.5", "nan", "inf", "{NaN:1}", "+Infinity", "--Infinity", "NaNNaN"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_json(text); }) == ErrorKind::kMalformed);
  }
}

TEST_CASE("json_write: what is written parses back the same") {
  std::string every;
  for (char32_t c = 0; c < 0x3000; ++c) {
    for (const bool ascii : {false, true}) {
      std::string text;
      if (c < 0x80) {
        text = static_cast<char>(c);
      } else if (c < 0x800) {
        text = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
      } else {
        text = {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)),
                static_cast<char>(0x80 | (c & 0x3F))};
      }
      std::string json;
      (ascii ? append_json_string_ascii : append_json_string)(json, text);
      std::string scratch;
      if (JsonScanner(json).string(scratch) != text) every += json + " ";
    }
  }
  CHECK(every.empty());
}

TEST_CASE("json_write: compact and indented are the same document") {
  const auto write = [](int indent) {
    std::string out;
    JsonWriter json(out, indent);
    json.begin_array().begin_object().member("s", "x\n").member("t", true).key("z").null().end_object();
    json.begin_array()
        .end_array()
        .value(~std::uint64_t{0})
        .value(-7)
        .value(1e300)
        .value(0.1)
        .numbers({})
        .numbers({1, 2})
        .raw("[1]")
        .end_array();
    return out;
  };
  CHECK(write(0) == R"([{"s":"x\n","t":true,"z":null},[],18446744073709551615,-7,1e+300,0.1,[],[1,2],[1]])");
  CHECK(write(1).find("\n {\n  \"s\": \"x\\n\",\n") == 1);
  CHECK(write(4).find("\n    [1, 2],\n") != std::string::npos);
  CHECK(parse_json(write(4)).root.items().size() == parse_json(write(0)).root.items().size());
  std::string odd;
  JsonWriter(odd, 0)
      .begin_array()
      .value(HUGE_VAL)
      .value(-HUGE_VAL)
      .value(std::nan(""))
      .value("\xFF")
      .end_array();
  CHECK(odd == "[\"Infinity\",\"-Infinity\",\"NaN\",\"\xEF\xBF\xBD\"]");
}
