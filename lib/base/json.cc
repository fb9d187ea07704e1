// SPDX-License-Identifier: Apache-2.0
// nlohmann's parser does the reading and calls JsonBuilder for every value; no tree of its own is made. The
// builder adds the byte range of each value, which the events don't carry: the lexer takes its characters
// from an iterator that counts them, so that the builder knows how far it has read. A list of open brackets
// takes the place of recursion, and limits of depth and of the number of values bound the memory.
//
// Python writes NaN and Infinity bare, which nlohmann refuses. Such words are replaced, in a copy of the
// text, by numbers of the same length, so that all offsets stay true, and the values get their own text back.
#include "base/json.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

// Hands characters to nlohmann's lexer and remembers how far it has read, which its events don't report.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  CountingIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  reference operator*() const { return *at_; }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Bare words of Python's json, replaced by numbers of the same length so that offsets stay.
struct Nonfinite {
  std::string_view word;
  std::string_view stand_in;
};
constexpr Nonfinite kNonfinite[] = {{"-Infinity", "-0.000000"}, {"Infinity", "0.000000"}, {"NaN", "0.0"}};

// True when neither a digit, a sign nor a letter touches the word.
bool stands_alone(std::string_view text, std::size_t at, std::size_t size) {
  constexpr std::string_view kBefore = " \t\r\n,:[";
  constexpr std::string_view kAfter = " \t\r\n,]}";
  const bool before = at == 0 || kBefore.find(text[at - 1]) != std::string_view::npos;
  const bool after = at + size == text.size() || kAfter.find(text[at + size]) != std::string_view::npos;
  return before && after;
}

std::string mask_nonfinite(std::string_view text) {
  std::string masked(text);
  bool in_string = false;
  for (std::size_t i = 0; i < masked.size(); ++i) {
    const char c = masked[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == 'N' || c == 'I' || c == '-') {
      for (const Nonfinite& entry : kNonfinite) {
        if (text.substr(i, entry.word.size()) != entry.word || !stands_alone(text, i, entry.word.size()))
          continue;
        masked.replace(i, entry.word.size(), entry.stand_in);
        i += entry.word.size() - 1;
        break;
      }
    }
  }
  return masked;
}

Error syntax_error(std::size_t offset, std::string_view why) {
  return malformed(fmt::format("not valid JSON: {}", why)).at(fmt::format("byte {}", offset));
}

}  // namespace

// Receives nlohmann's events and grows the tree; the open brackets are a stack, never recursion.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonBuilder(std::string_view text, std::string_view original, const JsonLimits& limits, JsonDocument& out)
      : text_(text), original_(original), limits_(limits), out_(out), reached_(text.data()) {}

  const char** reached() { return &reached_; }

  bool null() override {
    scalar(JsonValue::Kind::kNull);
    return true;
  }
  bool boolean(bool truth) override {
    scalar(JsonValue::Kind::kBool).truth_ = truth;
    return true;
  }
  bool number_integer(number_integer_t) override { return number(); }
  bool number_unsigned(number_unsigned_t) override { return number(); }
  bool number_float(number_float_t, const string_t&) override { return number(); }
  bool string(string_t& text) override {
    scalar(JsonValue::Kind::kString).text_ = std::move(text);
    return true;
  }
  bool binary(binary_t&) override { return false; }  // JSON text has no binary values
  bool start_object(std::size_t) override { return open(JsonValue::Kind::kObject); }
  bool start_array(std::size_t) override { return open(JsonValue::Kind::kArray); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    const std::size_t end = offset();
    if (!keys_.back().insert(name).second) out_.duplicates.emplace_back(name, end);
    key_ = std::move(name);
    last_end_ = end;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    const std::string_view what = error.what();
    const std::size_t detail = what.rfind("; ");
    const std::size_t at = position > 0 ? position - 1 : 0;
    if (error.id == 406) throw syntax_error(at, "a number is out of range");
    throw syntax_error(at, escape_name(what.substr(detail == std::string_view::npos ? 0 : detail + 2)));
  }

 private:
  [[nodiscard]] std::size_t offset() const { return static_cast<std::size_t>(reached_ - text_.data()); }

  // First byte of the token that has just been read.
  std::size_t token_begin() {
    std::size_t at = last_end_;
    while (at < text_.size() && (is_blank(text_[at]) || text_[at] == ',' || text_[at] == ':')) ++at;
    return at;
  }

  JsonValue& scalar_value(JsonValue::Kind kind, std::size_t begin, std::size_t end) {
    JsonValue& value = add();
    value.kind_ = kind;
    value.begin_ = begin;
    value.end_ = last_end_ = end;
    return value;
  }
  JsonValue& scalar(JsonValue::Kind kind) {
    const std::size_t begin = token_begin();
    return scalar_value(kind, begin, offset());
  }
  bool number() {
    // The lexer has looked one character past a number; its end is found from the text.
    const std::size_t begin = token_begin();
    std::size_t end = begin;
    while (end < text_.size() &&
           std::string_view("+-.eE0123456789").find(text_[end]) != std::string_view::npos)
      ++end;
    scalar_value(JsonValue::Kind::kNumber, begin, end).text_ =
        std::string(original_.substr(begin, end - begin));
    return true;
  }

  JsonValue& add() {
    if (++values_ > limits_.values)
      throw syntax_error(offset(), fmt::format("more than {} values", limits_.values));
    if (open_.empty()) return out_.root;
    JsonValue& parent = *open_.back();
    if (parent.kind_ == JsonValue::Kind::kArray) return parent.items_.emplace_back();
    return parent.members_.emplace_back(JsonValue::Member{std::move(key_), {}}).value;
  }
  bool open(JsonValue::Kind kind) {
    const std::size_t begin = token_begin();
    if (open_.size() >= limits_.depth) {
      throw syntax_error(begin, fmt::format("nested deeper than {} levels", limits_.depth));
    }
    JsonValue& value = add();
    value.kind_ = kind;
    value.begin_ = begin;
    last_end_ = begin + 1;
    open_.push_back(&value);  // stays valid: a parent's list grows only after its last child is closed
    keys_.emplace_back();
    return true;
  }
  bool close() {
    open_.back()->end_ = last_end_ = offset();
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string_view text_, original_;
  JsonLimits limits_;
  JsonDocument& out_;
  const char* reached_;
  std::size_t last_end_ = 0, values_ = 0;
  std::string key_;
  std::vector<JsonValue*> open_;
  std::vector<std::unordered_set<std::string>> keys_;
};

JsonDocument parse_json(std::string_view text, const JsonLimits& limits) {
  std::string masked;
  std::string_view input = text;
  if (limits.allow_nonfinite && (text.find("NaN") != text.npos || text.find("Infinity") != text.npos)) {
    masked = mask_nonfinite(text);
    input = masked;
  }
  JsonDocument document;
  JsonBuilder builder(input, text, limits, document);
  const char* const begin = input.data();
  nlohmann::json::sax_parse(CountingIterator(begin, builder.reached()),
                            CountingIterator(begin + input.size(), builder.reached()), &builder);
  return document;
}

std::string replace_json(std::string_view text, const JsonValue& value, std::string_view json) {
  std::string out(text.substr(0, value.begin()));
  out += json;
  out += text.substr(value.end());
  return out;
}

// What stands between two members is spaces and a comma, so that each is cut from the end of the one before to its own
// end; the first, to the beginning of the next one's key.
std::string without_json_key(std::string_view text, const JsonValue& object, std::string_view key) {
  std::string out;
  std::size_t from = 0;  // of what is kept
  std::size_t before = object.begin() + 1;
  bool is_first = true;
  for (const JsonValue::Member& member : object.members()) {
    if (member.key == key) {
      out += text.substr(from, before - from);
      from = member.value.end();
      const std::size_t next = text.find_first_not_of(" \t\r\n", from);
      if (is_first && text[next] == ',') from = next + 1;
      before = from;
    } else {
      is_first = false;
      before = member.value.end();
    }
  }
  return out.append(text.substr(from));
}

std::optional<bool> JsonValue::as_bool() const {
  if (kind_ != Kind::kBool) return std::nullopt;
  return truth_;
}

std::optional<std::uint64_t> JsonValue::as_u64() const {
  std::uint64_t number = 0;
  if (kind_ != Kind::kNumber) return std::nullopt;
  const std::from_chars_result parsed = std::from_chars(text_.data(), text_.data() + text_.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != text_.data() + text_.size()) return std::nullopt;
  return number;
}

std::optional<double> JsonValue::as_double() const {
  if (kind_ != Kind::kNumber) return std::nullopt;
  if (text_ == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text_ == "Infinity") return std::numeric_limits<double>::infinity();
  if (text_ == "-Infinity") return -std::numeric_limits<double>::infinity();
  double number = 0;
  std::from_chars(text_.data(), text_.data() + text_.size(), number);
  return number;
}

const std::string* JsonValue::as_string() const {
  return kind_ == Kind::kString ? &text_ : nullptr;
}

const JsonValue* JsonValue::find(std::string_view key) const {
  for (auto member = members_.rbegin(); member != members_.rend(); ++member) {
    if (member->key == key) return &member->value;
  }
  return nullptr;
}

const std::string* JsonValue::find_string(std::string_view key) const {
  const JsonValue* value = find(key);
  return value == nullptr ? nullptr : value->as_string();
}

std::optional<std::uint64_t> JsonValue::find_u64(std::string_view key) const {
  const JsonValue* value = find(key);
  return value == nullptr ? std::nullopt : value->as_u64();
}

bool JsonValue::find_true(std::string_view key) const {
  const JsonValue* value = find(key);
  return value != nullptr && value->as_bool().value_or(false);
}

std::vector<std::string> texts_of(const JsonValue* value) {
  std::vector<std::string> out;
  if (value == nullptr) return out;
  if (const std::string* text = value->as_string()) out.push_back(*text);
  for (const JsonValue& item : value->items()) {
    if (const std::string* text = item.as_string()) out.push_back(*text);
  }
  return out;
}

}  // namespace mu
