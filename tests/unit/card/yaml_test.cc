// SPDX-License-Identifier: Apache-2.0
#include "card/yaml.h"

#include <doctest/doctest.h>

#include "card/yaml_scalars.h"
#include "testing.h"

using namespace mu;
using Kind = YamlValue::Kind;

TEST_CASE("yaml: strings that a dialect would turn into something else are quoted") {
  // facts: each of these is a number, a date, a truth value, null or an error for PyYAML or js-yaml.
  for (const char* text :
       {"no",   "Yes",   "on",    "OFF",        "y",          "1e5",  "1e-05", "1.0e-05", "0o7",
        "007",  "1_000", "12:30", "2024-01-15", "=",          "<<",   "true",  "null",    "~",
        "0x1f", ".inf",  ".5",    "1.",         "+1",         "3.1",  "",      " ",       "a: b",
        "a #b", "- a",   "[a",    "{a",         "*a",         "&a",   "!a",    "@a",      "`a",
        "%a",   "'a",    "\"a",   "a:",         "3dtopia-xl", "a\nb", "?",     "|",       ">"}) {
    CAPTURE(text);
    CHECK(yaml_string(text).front() == '"');
    const YamlValue value = parse_yaml(yaml_string(text), 1);
    CHECK(value.kind == Kind::kString);
    CHECK(value.text == text);
  }
}

TEST_CASE("yaml: plain scalars as the Hub and as Python read them") {
  struct Row {
    const char* text;
    Kind hub, python;
  };
  for (const Row& row : {Row{"no", Kind::kString, Kind::kBool},
                         Row{"oFF", Kind::kString, Kind::kString},
                         Row{"1e5", Kind::kNumber, Kind::kString},
                         Row{"1.0e-05", Kind::kNumber, Kind::kNumber},
                         Row{"0o7", Kind::kNumber, Kind::kString},
                         Row{"0b12", Kind::kString, Kind::kString},
                         Row{"089", Kind::kNumber, Kind::kString},
                         Row{"1_000", Kind::kString, Kind::kNumber},
                         Row{"12:30", Kind::kString, Kind::kNumber},
                         Row{"12:99", Kind::kString, Kind::kString},
                         Row{"08:30", Kind::kString, Kind::kString},
                         Row{"0x", Kind::kString, Kind::kString},
                         Row{"2024-01-15 a", Kind::kString, Kind::kString},
                         Row{"2024-1-5", Kind::kString, Kind::kString},
                         Row{"2024-1-5 1:02:03.5 +1:30", Kind::kDate, Kind::kDate},
                         Row{"2024-01-15T10:00:00Z", Kind::kDate, Kind::kDate},
                         Row{"1:3.x", Kind::kString, Kind::kString},
                         Row{"2024-01-15", Kind::kDate, Kind::kDate},
                         Row{"66e850", Kind::kString, Kind::kString},
                         Row{"True", Kind::kBool, Kind::kBool}}) {
    CAPTURE(row.text);
    const YamlValue value = parse_yaml(row.text, 1);
    CHECK(value.is_plain);
    CHECK(value.kind == row.hub);
    CHECK(python_kind(row.text) == row.python);
  }
  CHECK_FALSE(parse_yaml("\"no\"", 1).is_plain);
}

TEST_CASE("yaml: ids, tags, licences and addresses stay plain") {
  for (const char* text : {"owner/name", "base_model:adapter:org/x", "apache-2.0", "https://a.b/c",
                           "two words", "llama3.1", "_x"}) {
    CHECK(yaml_string(text) == text);
    CHECK(parse_yaml(text, 1).text == text);
  }
}

TEST_CASE("yaml: control characters and broken UTF-8 are refused, odd ones are escaped") {
  using testing::error_of;
  CHECK(error_of([] { yaml_string("a\x01"); }) == ErrorKind::kUsage);
  CHECK(error_of([] { yaml_string("a\xFF"); }) == ErrorKind::kUsage);
  CHECK(yaml_string("\xC2\x85\xE2\x80\xA8\xEF\xBB\xBF") == "\"\\u0085\\u2028\\uFEFF\"");
  CHECK(yaml_string("h\xC3\xA9") == "\"h\xC3\xA9\"");
}

TEST_CASE("yaml: numbers are numbers in both dialects") {
  CHECK(yaml_number(1e-05) == "1.0e-05");
  CHECK(yaml_number(0.5) == "0.5");
  CHECK(yaml_number(2.5e-7) == "2.5e-07");
  for (const double number : {1e-05, 1e30, 0.25, -3.0})
    CHECK(parse_yaml(yaml_number(number), 1).kind == Kind::kNumber);
}

TEST_CASE("yaml: values know their lines, duplicates and aliases are refused by line") {
  const YamlValue root = parse_yaml("a: 1\nb:\n- x\n- no\nc: {d: 2024-01-01}\n", 3);
  CHECK(root.find("b")->items[1].line == 6);
  CHECK(root.find("b")->items[1].kind == Kind::kString);
  CHECK(root.find("c")->is_flow);
  CHECK(root.find("c")->find("d")->kind == Kind::kDate);
  const auto what = [](const char* text) {
    try {
      parse_yaml(text, 2);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(what("a: 1\na: 2\n").starts_with("line 3: the key 'a' occurs twice"));
  CHECK(what("a: *b\n").starts_with("line 2: "));
  CHECK(what("a: &b c\n").starts_with("line 2: "));
  CHECK(what("a: 1\n---\nb: 2\n").find("more than one") != std::string::npos);
  CHECK(what("a: 2024-02-30\n") == "line 2: not valid YAML: 2024-02-30 is not a day; put it in quotes");
  CHECK(what("a: 2023-02-29\n").starts_with("line 2: not valid YAML"));
  CHECK(what("- 2024-02-29\n- '2024-13-01'\n- 2024-13-01x\n").empty());
  CHECK(what("a: 1\n...\nb: 2\n").starts_with("line 4: not valid YAML"));
  CHECK(what("a: [\n").starts_with("line "));
  CHECK(what(std::string(200, '[').c_str()).starts_with("line 2: nested too deeply"));
}

TEST_CASE("yaml: what one of the two readers refuses is refused by line") {
  const auto is_refused = [](const std::string& text) {
    try {
      parse_yaml(text, 2);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kMalformed);
      CHECK(std::string(error.what()).starts_with("line 3: "));
      return true;
    }
    return false;
  };
  for (const char* text : {"a: =",
                           "a: [=]",
                           "a: <<",
                           "- <<",
                           "<<: x",
                           "<<:",
                           "<<: [x]",
                           "<<: [{b: c}, x]",
                           "a: {<<: 1}",
                           "a: [-]",
                           "a: 0x_",
                           "a: -0b_",
                           "a: !x [b]",
                           "a: !!omap [b]",
                           "a:\tb",
                           "a: b\t",
                           "a: b\t# c",
                           "a: [b,\tc]",
                           "a: \"x\"\t",
                           "a\t: b",
                           "a: b#\tc",
                           "a: |\t# c\n  x",
                           "a: b\tc",
                           "a: 2024-01-15 24:00:00",
                           "a: h\xC3\xA9\t",
                           "a: 2024-1-32 1:02:03",
                           "a: 2024-01-15 1:60:03",
                           "a: 2024-01-15 1:02:60",
                           "a: 2024-01-15 1:02:03 +24",
                           "2024-01-15 24:00:00: a"}) {
    CAPTURE(text);
    CHECK(is_refused(std::string("# one\n") + text + "\n"));
  }
  for (const char* text :
       {"a: '='", "=: b", "a: \"<<\"", "'<<': x", "<<: {b: c}", "<<: [{b: c}]", "<<: []", "a: [--]",
        "a: 0x1_", "a: '0x_'", "a: ! b", "a: 'x\ty'", "a: b # c\td", "a: \"x\"#\tc", "a: |  #\tc\n  x\ty",
        "a: \"h\xC3\xA9\ty\"", "a: >\n  x\ty\n#\tc", "a: 2024-01-15 23:59:59 -23:59"}) {
    CAPTURE(text);
    CHECK_FALSE(is_refused(std::string("# one\n") + text + "\n"));
  }
}
