// SPDX-License-Identifier: Apache-2.0
// YAML of front matter. Reading turns the events of libyaml into values that know their lines, resolves
// scalars as js-yaml 4 (the Hub) does, and refuses duplicate keys and aliases. Writing quotes every string
// that js-yaml or PyYAML (YAML 1.1) would read as something else.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "card/yaml_scalars.h"

namespace mu {

struct YamlValue {
  using Kind = YamlKind;
  Kind kind = Kind::kNull;
  std::string text{};     // the text of a scalar, without quotes
  std::size_t line = 1;   // the line it is on
  bool is_flow = false;   // [a] or {k: v}
  bool is_plain = false;  // a scalar without quotes
  std::vector<YamlValue> items{};
  struct Member;
  std::vector<Member> members;  // in order; keys are unique

  [[nodiscard]] const YamlValue* find(std::string_view key) const;
  [[nodiscard]] bool is_string() const { return kind == Kind::kString; }
  [[nodiscard]] bool is_scalar() const { return kind != Kind::kList && kind != Kind::kMap; }
  // The text of a scalar, or of the scalars of a list; nulls are left out.
  [[nodiscard]] std::vector<std::string> texts() const;
};

struct YamlValue::Member {
  std::string key;
  std::size_t line;  // of the key
  YamlValue value;
};

// Parses one document; its first line has number `first_line`. An empty document is null. Throws kMalformed
// at "line N", also for what only PyYAML or only js-yaml refuses.
YamlValue parse_yaml(std::string_view text, std::size_t first_line);

// A string as a scalar: plain if both dialects read it back as this string, else in double quotes. Throws
// kUsage for control characters other than tab and newline, and for text that is not UTF-8.
std::string yaml_string(std::string_view text);
// A number that both dialects read as a number: "1.0e-05", ".nan".
std::string yaml_number(double number);

// The lines of a top-level entry, with list items at the indent of the key: "tags:\n- a\n". Ends with a
// newline.
std::string yaml_entry(std::string_view key, std::string_view value);
std::string yaml_entry(std::string_view key, const std::vector<std::string>& values);

}  // namespace mu
