// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <doctest/doctest.h>

#include <cmath>

#include "base/json_scan.h"
#include "base/json_write.h"
#include "testing.h"

using namespace mu;
using mu::testing::error_of;

TEST_CASE("json: values know their place in the text") {
  const std::string text = R"( {"a": 1e-06 , "b":[true,null, "x\u00e9"],"c":{"d":-0}} )";
  const JsonDocument document = parse_json(text);
  const auto written = [&text](const JsonValue& value) {
    return text.substr(value.begin(), value.end() - value.begin());
  };
  CHECK(written(*document.root.find("a")) == "1e-06");
  CHECK(written(*document.root.find("b")) == R"([true,null, "x\u00e9"])");
  CHECK(written(document.root.find("b")->items()[2]) == R"("x\u00e9")");
  CHECK(written(document.root.find("b")->items()[1]) == "null");
  CHECK(written(*document.root.find("c")->find("d")) == "-0");
  CHECK(*document.root.find("b")->items()[2].as_string() == "xé");
}

TEST_CASE("json: numbers keep their text") {
  const JsonDocument document =
      parse_json("[1000000000000000019884624838656, 18446744073709551615, 0.1, -3]");
  const std::vector<JsonValue>& items = document.root.items();
  CHECK(items[0].number_text() == "1000000000000000019884624838656");
  CHECK_FALSE(items[0].as_u64().has_value());
  CHECK(items[1].as_u64() == 18446744073709551615U);
  CHECK(items[2].as_double() == 0.1);
  CHECK_FALSE(items[3].as_u64().has_value());
}

TEST_CASE("json: bare NaN and Infinity as Python writes them") {
  const std::string text =
      R"({"s": "NaN Infinity \" NaN", "n": NaN, "p": Infinity, "m": -Infinity, "z": [NaN]})";
  const JsonDocument document = parse_json(text);
  CHECK(std::isnan(*document.root.find("n")->as_double()));
  CHECK(*document.root.find("p")->as_double() == HUGE_VAL);
  CHECK(*document.root.find("m")->as_double() == -HUGE_VAL);
  CHECK(*document.root.find("s")->as_string() == "NaN Infinity \" NaN");
  CHECK(document.root.find("m")->number_text() == "-Infinity");
  JsonLimits strict;
  strict.allow_nonfinite = false;
  CHECK(error_of([&] { parse_json("[NaN]", strict); }) == ErrorKind::kMalformed);
}

TEST_CASE("json: duplicate keys are seen and the last counts") {
  const JsonDocument document = parse_json(R"({"a":1,"b":{"a":2},"a":3})");
  REQUIRE(document.duplicates.size() == 1);
  CHECK(document.duplicates[0].first == "a");
  CHECK(document.root.find("a")->as_u64() == 3);
}

TEST_CASE("json: text that is not JSON is refused with the place of the fault") {
  for (const char* text : {"", "{", "[1,]", "{\"a\":}", "[1] x", "nul", "\"\x01\"", "[1e999]", "{\"a\" 1}",
                           "\"\\ud800\"", "[\xFF]"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_json(text); }) == ErrorKind::kMalformed);
  }
  CHECK(error_of([] { parse_json(std::string(100'000, '[')); }) == ErrorKind::kMalformed);
  CHECK_FALSE(error_of([] { parse_json(std::string(128, '[') + std::string(128, ']')); }).has_value());
  CHECK(error_of([] { parse_json(std::string(129, '[') + std::string(129, ']')); }) == ErrorKind::kMalformed);
  try {
    parse_json("{\"a\": tru}");
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("byte 9") != std::string::npos);
  }
}

TEST_CASE("json: an edit leaves every other byte alone") {
  const std::string text = "{ \"dtype\" :\t\"float32\",\n  \"x\": 1e-06 }";
  const JsonDocument document = parse_json(text);
  CHECK(replace_json(text, *document.root.find("dtype"), "\"bfloat16\"") ==
        "{ \"dtype\" :\t\"bfloat16\",\n  \"x\": 1e-06 }");
}

TEST_CASE("json_scan: strings are unescaped, odd ones refused") {
  std::string scratch;
  CHECK(JsonScanner(R"("a\/b\u00e9\ud83d\ude00\n")").string(scratch) == "a/bé😀\n");
  for (const char* wrong :
       {R"("a)", R"("\x")", R"("\ud800")", R"("\udc00")", R"("\ud800\u0041")", R"("\u12")", "\"\t\""}) {
    CAPTURE(wrong);
    CHECK(error_of([&] { JsonScanner(wrong).string(scratch); }) == ErrorKind::kMalformed);
  }
}

TEST_CASE("json_scan: a stop behind the eighth byte is found") {
  std::string scratch;
  for (std::size_t length = 0; length < 40; ++length) {
    const std::string name(length, 'n');
    CHECK(JsonScanner("\"" + name + "\"x").string(scratch) == name);
    CHECK(error_of([&] { JsonScanner("\"" + name + "\x01\"").string(scratch); }) == ErrorKind::kMalformed);
    // 0x7F and anything above 0x80 are not control characters.
    CHECK(JsonScanner("\"" + name + "\x7F\xC3\xA9\"").string(scratch) == name + "\x7F\xC3\xA9");
  }
}

TEST_CASE("json: a text, or the texts of a list") {
  const auto texts = [](const char* text) {
    const JsonDocument document = parse_json(text);
    return texts_of(&document.root);
  };
  using Texts = std::vector<std::string>;
  CHECK(texts(R"("a")") == Texts{"a"});
  CHECK(texts(R"(["a", 1, null, ["x"], "b"])") == Texts{"a", "b"});
  for (const char* text : {"null", "1", "[]", R"({"a": "b"})"}) CHECK(texts(text).empty());
  CHECK(texts_of(nullptr).empty());
}

TEST_CASE("json_write: escapes what must be escaped and nothing else") {
  std::string out;
  append_json_string(out, std::string_view("\"\\/\b\f\n\r\t\x01\x7F\xE2\x80\xA8é\xFF\0", 17));
  CHECK(out == "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7F\xE2\x80\xA8é\xEF\xBF\xBD\\u0000\"");
  out.clear();
  append_json_string_ascii(out, "é😀\x7F");
  CHECK(out == "\"\\u00e9\\ud83d\\ude00\x7F\"");
}

TEST_CASE("json_write: layout") {
  std::string out;
  JsonWriter json(out);
  json.begin_object().member("a", 1).key("b").begin_array().value("x").value(0.5).end_array();
  json.key("c").begin_object().end_object().member("n", std::nan("")).key("s").numbers({2, 3}).end_object();
  CHECK(out ==
        "{\n  \"a\": 1,\n  \"b\": [\n    \"x\",\n    0.5\n  ],\n  \"c\": {},\n  \"n\": \"NaN\",\n  \"s\": "
        "[2, 3]\n}");
}

TEST_CASE("json: members go with what separates them from others") {
  const auto without = [](std::string_view text, std::string_view key) {
    return without_json_key(text, parse_json(text).root, key);
  };
  CHECK(without("{\n  \"a\": 1,\n  \"b\": [2],\n  \"c\": 3\n}\n", "a") ==
        "{\n  \"b\": [2],\n  \"c\": 3\n}\n");
  CHECK(without("{\n  \"a\": 1,\n  \"b\": [2],\n  \"c\": 3\n}\n", "b") == "{\n  \"a\": 1,\n  \"c\": 3\n}\n");
  CHECK(without("{\n  \"a\": 1,\n  \"b\": [2],\n  \"c\": 3\n}\n", "c") ==
        "{\n  \"a\": 1,\n  \"b\": [2]\n}\n");
  CHECK(without(R"({"a":{"a":1}})", "a") == "{}");
  CHECK(without(R"({"a": 1, "a": 2})", "a") == "{}");
  CHECK(without(R"({"a": 1, "a": 2, "b": 3, "a": 4})", "a") == R"({ "b": 3})");
  CHECK(without(R"({"x\"a": 1, "b": 3})", "a") == R"({"x\"a": 1, "b": 3})");
}

TEST_CASE("json: an error shows no bytes that are not text") {
  for (const std::string_view text : {"\xff", "{\"a\": \"\x1b[31m\xff\"}", "[1, \xe2\x80\xae]"}) {
    try {
      parse_json(text);
      FAIL("parsed");
    } catch (const Error& error) {
      for (const char c : std::string_view(error.what())) CHECK((c >= ' ' && c <= '~'));
    }
  }
}
