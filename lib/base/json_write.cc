// SPDX-License-Identifier: Apache-2.0
#include "base/json_write.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "base/text.h"

namespace mu {
namespace {

void append_escaped_ascii(std::string& out, char c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      if (static_cast<unsigned char>(c) < 0x20) {
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
      } else {
        out += c;
      }
  }
}

void append_unicode_escape(std::string& out, char32_t c) {
  const auto unit = [&out](unsigned value) { fmt::format_to(std::back_inserter(out), "\\u{:04x}", value); };
  if (c >= 0x10000) {
    unit(0xD800U + static_cast<unsigned>((c - 0x10000) >> 10));
    unit(0xDC00U + static_cast<unsigned>((c - 0x10000) & 0x3FF));
  } else {
    unit(static_cast<unsigned>(c));
  }
}

void append_quoted(std::string& out, std::string_view text, bool ascii_only) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    const char32_t c = point.valid ? point.value : U'\uFFFD';
    if (c < 0x80) {
      // Python escapes U+007F no more than serde_json does.
      append_escaped_ascii(out, static_cast<char>(c));
    } else if (ascii_only) {
      append_unicode_escape(out, c);
    } else {
      append_utf8(out, c);
    }
    i += point.size;
  }
  out += '"';
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  append_quoted(out, text, false);
}
void append_json_string_ascii(std::string& out, std::string_view text) {
  append_quoted(out, text, true);
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  append_json_string(out_, name);
  out_ += indent_ > 0 ? ": " : ":";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  append_json_string(out_, text);
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  if (std::isnan(number)) return value("NaN");
  if (std::isinf(number)) return value(number > 0 ? "Infinity" : "-Infinity");
  return raw(fmt::format("{}", number));
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  separate();
  out_ += json;
  return *this;
}

JsonWriter& JsonWriter::numbers(const std::vector<std::uint64_t>& list) {
  separate();
  out_ += '[';
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i > 0) out_ += indent_ > 0 ? ", " : ",";
    out_ += std::to_string(list[i]);
  }
  out_ += ']';
  return *this;
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  out_ += bracket;
  has_items_.push_back(false);
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  const bool had_items = has_items_.back();
  has_items_.pop_back();
  if (had_items) break_line();
  out_ += bracket;
  return *this;
}

void JsonWriter::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (has_items_.empty()) return;
  if (has_items_.back()) out_ += ',';
  has_items_.back() = true;
  break_line();
}

void JsonWriter::break_line() {
  if (indent_ == 0) return;
  out_ += '\n';
  out_.append(has_items_.size() * static_cast<std::size_t>(indent_), ' ');
}

}  // namespace mu
