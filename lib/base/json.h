// SPDX-License-Identifier: Apache-2.0
// JSON documents (configs, indexes, trainer states) as values that remember their place in the text, so that
// an edit changes only the bytes it must instead of writing the whole file anew. Numbers keep their own text.
// Parsing is nlohmann's; headers of safetensors files go through json_scan.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mu {

class JsonValue {
 public:
  enum class Kind : std::uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };
  struct Member;

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] bool is_object() const { return kind_ == Kind::kObject; }
  [[nodiscard]] bool is_array() const { return kind_ == Kind::kArray; }

  // The content by kind; nothing when the value is of another kind or does not fit.
  [[nodiscard]] std::optional<bool> as_bool() const;
  [[nodiscard]] std::optional<std::uint64_t> as_u64() const;  // written as an unsigned whole number
  [[nodiscard]] std::optional<double> as_double() const;      // any number, bare NaN and Infinity included
  [[nodiscard]] const std::string* as_string() const;
  [[nodiscard]] const std::string& number_text() const { return text_; }  // as written

  [[nodiscard]] const std::vector<JsonValue>& items() const { return items_; }   // of an array
  [[nodiscard]] const std::vector<Member>& members() const { return members_; }  // of an object, in order
  [[nodiscard]] const JsonValue* find(std::string_view key) const;           // last of equal keys, or null
  [[nodiscard]] const std::string* find_string(std::string_view key) const;  // null unless a string
  [[nodiscard]] std::optional<std::uint64_t> find_u64(std::string_view key) const;
  [[nodiscard]] bool find_true(std::string_view key) const;  // present and `true`

  // Byte range of the value in the text it was parsed from.
  [[nodiscard]] std::size_t begin() const { return begin_; }
  [[nodiscard]] std::size_t end() const { return end_; }

 private:
  friend class JsonBuilder;
  Kind kind_ = Kind::kNull;
  bool truth_ = false;
  std::size_t begin_ = 0, end_ = 0;
  std::string text_;
  std::vector<JsonValue> items_;
  std::vector<Member> members_;
};

struct JsonValue::Member {
  std::string key;
  JsonValue value;
};

struct JsonDocument {
  JsonValue root;
  // Keys that appear more than once in one object, each with the offset just after the repeated key.
  std::vector<std::pair<std::string, std::size_t>> duplicates;
};

struct JsonLimits {
  std::size_t depth = 128;        // open brackets
  std::size_t values = SIZE_MAX;  // of all kinds; "{}," costs a hundred bytes each
  bool allow_nonfinite = true;    // bare NaN, Infinity and -Infinity, as Python writes them
};

// A text, or the texts of a list; empty for null, for no value and for anything else.
std::vector<std::string> texts_of(const JsonValue* value);

// Parses a whole document. Throws kMalformed at "byte N" with the reason.
JsonDocument parse_json(std::string_view text, const JsonLimits& limits = {});

// `text` with the bytes of `value` replaced by `json`; `value` must come from parsing the same text.
std::string replace_json(std::string_view text, const JsonValue& value, std::string_view json);

// `text` without the members of `object` that have this key, the spaces before each included; `object` must come from
// parsing the same text.
std::string without_json_key(std::string_view text, const JsonValue& object, std::string_view key);

}  // namespace mu
