// SPDX-License-Identifier: Apache-2.0
// Writes JSON as a stream, so that a report of half a million tensors needs no tree in memory. Strings are
// escaped as serde_json does (only what must be), which is also what safetensors headers need byte for byte.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// Appends `text`, quoted. Invalid UTF-8 becomes U+FFFD, since a document must stay readable.
void append_json_string(std::string& out, std::string_view text);
// The same with everything beyond ASCII as \uXXXX, as Python's json.dump writes it.
void append_json_string_ascii(std::string& out, std::string_view text);

// Appends one document to a string it borrows. indent 0 is compact, n breaks lines and indents by n.
// Non-finite numbers are written as the strings "NaN", "Infinity" and "-Infinity".
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out, int indent = 2) : out_(out), indent_(indent) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);

  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(double number);
  JsonWriter& value(bool truth) { return raw(truth ? "true" : "false"); }
  template <std::integral T>
  JsonWriter& value(T number) {
    return raw(std::to_string(number));
  }
  JsonWriter& null() { return raw("null"); }
  JsonWriter& raw(std::string_view json);  // a value that is JSON already

  template <typename T>
  JsonWriter& member(std::string_view name, const T& content) {
    return key(name).value(content);
  }
  // Shapes and offsets stay on one line whatever the indent.
  JsonWriter& numbers(const std::vector<std::uint64_t>& list);

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();
  void break_line();

  std::string& out_;
  int indent_;
  std::vector<bool> has_items_;  // one for each open bracket
  bool after_key_ = false;
};

}  // namespace mu
