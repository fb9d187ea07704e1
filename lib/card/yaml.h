// SPDX-License-Identifier: Apache-2.0
// YAML of front matter. Reading is yaml-cpp's events made into values that know their lines, with scalars
// resolved as js-yaml 4 does (the Hub), duplicate keys and aliases refused. Writing quotes every string that
// js-yaml or PyYAML (YAML 1.1) would turn into something else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mu {

struct YamlValue {
  enum class Kind : std::uint8_t { kNull, kBool, kNumber, kDate, kString, kList, kMap };
  Kind kind = Kind::kNull;
  std::string text{};     // of a scalar, without quotes
  std::size_t line = 1;   // where it stands
  bool is_flow = false;   // [a] or {k: v}
  bool is_plain = false;  // a scalar without quotes
  std::vector<YamlValue> items{};
  struct Member;
  std::vector<Member> members;  // in order; keys are unique

  [[nodiscard]] const YamlValue* find(std::string_view key) const;
  [[nodiscard]] bool is_string() const { return kind == Kind::kString; }
  [[nodiscard]] bool is_scalar() const { return kind != Kind::kList && kind != Kind::kMap; }
  // The texts of a scalar or of a list's scalars; nulls left out.
  [[nodiscard]] std::vector<std::string> texts() const;
};

struct YamlValue::Member {
  std::string key;
  std::size_t line;  // of the key
  YamlValue value;
};

// Parses one document whose first line is number `first_line`. An empty one is null. Throws kMalformed at
// "line N".
YamlValue parse_yaml(std::string_view text, std::size_t first_line);

// What PyYAML (YAML 1.1) makes of an unquoted scalar; kNull also for "=" and "<<", which it refuses.
YamlValue::Kind python_kind(std::string_view plain);

// A string as a scalar: plain where both dialects read it back as this string, else double-quoted.
// Throws kUsage for control characters other than tab and newline, and for what is not UTF-8.
std::string yaml_string(std::string_view text);
// A number that both dialects read as one: "1.0e-05", ".nan".
std::string yaml_number(double number);

// Lines of a top-level entry, list items at the indent of the key: "tags:\n- a\n". Ends with a newline.
std::string yaml_entry(std::string_view key, std::string_view value);
std::string yaml_entry(std::string_view key, const std::vector<std::string>& values);

}  // namespace mu
