// SPDX-License-Identifier: Apache-2.0
// libyaml is the scanner and parser that PyYAML has, so what Python's readers refuse is refused here by the same
// rules. It gives events: text split into scalars, lists and maps, with lines. The tree is built from them here
// (Builder), since the library's own documents know neither duplicate keys nor the types of the Hub. Two dialects
// matter and differ: the Hub reads with js-yaml 4 (YAML 1.2), Python with PyYAML (YAML 1.1,
// where "no" is false, 12:30 is 750 and 1e-5 is text). The linter compares the two. When writing, a string stays
// plain only if it is made of plain words and neither dialect would read it as something else; everything else is
// quoted, which both read alike. Aliases and anchors are refused: a few lines of them can expand without end.

#include "card/yaml.h"

#include <fmt/format.h>
#include <yaml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <memory>
#include <new>
#include <unordered_set>

#include "base/error.h"
#include "base/text.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr std::size_t kMaxDepth = 64;  // levels: bounds recursion; a card has some six

// Builds the tree from the events of libyaml's parser.
class Builder {
 public:
  explicit Builder(std::size_t first_line) : first_line_(first_line) {}

  // Throws kMalformed for what cards must not hold: aliases, anchors, tags, keys that are not text or occur twice.
  void take(const yaml_event_t& event) {
    const std::size_t line = first_line_ + event.start_mark.line;
    switch (event.type) {
      case YAML_ALIAS_EVENT:
        throw malformed("aliases (*name) are not read").at(place(line)).hint("write the value out");
      case YAML_SCALAR_EVENT:
        scalar(event, line);
        break;
      case YAML_SEQUENCE_START_EVENT:
        refuse_tag(line, event.data.sequence_start.tag, "seq");
        open(line, event.data.sequence_start.anchor, YamlValue::Kind::kList,
             event.data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE);
        break;
      case YAML_MAPPING_START_EVENT:
        refuse_tag(line, event.data.mapping_start.tag, "map");
        open(line, event.data.mapping_start.anchor, YamlValue::Kind::kMap,
             event.data.mapping_start.style == YAML_FLOW_MAPPING_STYLE);
        break;
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        close();
        break;
      case YAML_DOCUMENT_START_EVENT:
        if (++documents_ > 1) throw malformed("more than one YAML document").at(place(line));
        break;
      default:
        break;
    }
  }

  YamlValue root;

 private:
  struct Open {
    YamlValue value;
    bool has_key = false, is_merge = false;  // a plain key "<<" merges maps
    std::unordered_set<std::string> keys{};  // the keys of a map so far
    std::string key{};
    std::size_t key_line = 0;
  };

  static std::string place(std::size_t line) { return fmt::format("line {}", line); }
  static YamlValue value_at(std::size_t line, YamlValue::Kind kind) {
    YamlValue value;
    value.kind = kind;
    value.line = line;
    return value;
  }
  static void refuse_anchor(std::size_t line, const yaml_char_t* anchor) {
    if (anchor != nullptr) throw malformed("anchors (&name) are not read").at(place(line));
  }
  // `own` is the tag that says what the value is in any case.
  static void refuse_tag(std::size_t line, const yaml_char_t* text, std::string_view own) {
    const std::string_view tag = text == nullptr ? "" : reinterpret_cast<const char*>(text);
    if (tag.empty() || tag == "!" || tag == fmt::format("tag:yaml.org,2002:{}", own)) return;
    throw malformed(fmt::format("the tag {} is not read", escape_name(tag))).at(place(line));
  }
  [[nodiscard]] bool awaits_key() const {
    return !stack_.empty() && stack_.back().value.kind == YamlValue::Kind::kMap && !stack_.back().has_key;
  }
  static bool can_merge(const YamlValue& value) {
    const auto is_map = [](const YamlValue& v) { return v.kind == YamlValue::Kind::kMap; };
    return is_map(value) || (value.kind == YamlValue::Kind::kList &&
                             std::all_of(value.items.begin(), value.items.end(), is_map));
  }
  void scalar(const yaml_event_t& event, std::size_t line) {
    const auto& data = event.data.scalar;
    refuse_anchor(line, data.anchor);
    const bool tagged = data.tag != nullptr;
    refuse_tag(line, data.tag, "str");
    const std::string text(reinterpret_cast<const char*>(data.value), data.length);
    const bool plain = data.style == YAML_PLAIN_SCALAR_STYLE && !tagged;
    // The library lets this pass; PyYAML's own scanner and js-yaml do not.
    if (plain && text.starts_with('%'))
      throw malformed("not valid YAML: '%' can't begin a value").at(place(line));
    const bool is_key = awaits_key();
    if (plain && text == "-" && !is_key)  // in a flow list, where js-yaml misses a comma
      throw malformed("not valid YAML: '-' can't be a value; put it in quotes").at(place(line));
    const std::string_view missed = plain ? python_misses(text) : "";
    if (!missed.empty() && !(is_key && (text == "=" || text == "<<")))
      throw malformed(fmt::format("not valid YAML: {} is not {}; put it in quotes", text, missed))
          .at(place(line));
    YamlValue value = value_at(line, plain ? hub_kind(text) : YamlValue::Kind::kString);
    value.text = text;
    value.is_plain = plain && !text.empty();
    if (is_key) stack_.back().is_merge = plain && text == "<<";
    add(std::move(value));
  }
  void open(std::size_t line, const yaml_char_t* anchor, YamlValue::Kind kind, bool is_flow) {
    refuse_anchor(line, anchor);
    if (stack_.size() >= kMaxDepth) throw malformed("nested too deeply").at(place(line));
    stack_.push_back({value_at(line, kind)});
    stack_.back().value.is_flow = is_flow;
  }
  void close() {
    YamlValue value = std::move(stack_.back().value);
    stack_.pop_back();
    add(std::move(value));
  }
  void add(YamlValue value) {
    check_interrupt();
    if (stack_.empty()) {
      root = std::move(value);
      return;
    }
    Open& top = stack_.back();
    if (top.value.kind == YamlValue::Kind::kList) {
      top.value.items.push_back(std::move(value));
    } else if (!top.has_key) {
      if (!value.is_scalar()) throw malformed("a key must be text").at(place(value.line));
      if (!top.keys.insert(value.text).second)
        throw malformed(fmt::format("the key '{}' occurs twice", escape_name(value.text)))
            .at(place(value.line))
            .hint("the Hub refuses such a card; remove one");
      top.key = std::move(value.text);
      top.key_line = value.line;
      top.has_key = true;
    } else {
      if (top.is_merge && !can_merge(value))
        throw malformed("not valid YAML: '<<' takes a map or a list of maps; put it in quotes")
            .at(place(top.key_line));
      // An empty value has the position of what follows it, so it gets the line of its key.
      if (value.kind == YamlValue::Kind::kNull && value.text.empty()) value.line = top.key_line;
      top.value.members.push_back({std::move(top.key), top.key_line, std::move(value)});
      top.has_key = false;
    }
  }

  std::size_t first_line_;
  unsigned documents_ = 0;
  std::vector<Open> stack_;
};

// Owns what the library allocates.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), has_tabs_(text.find('\t') != std::string_view::npos) {
    if (yaml_parser_initialize(&parser_) == 0) throw std::bad_alloc();
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
  }
  ~Parser() { yaml_parser_delete(&parser_); }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;

  // Hands every event to `builder`. Throws kMalformed at "line N".
  void run(Builder& builder, std::size_t first_line) {
    for (bool ended = false; !ended;) {
      yaml_event_t event;
      if (yaml_parser_parse(&parser_, &event) == 0) fail(first_line);
      const std::unique_ptr<yaml_event_t, decltype(&yaml_event_delete)> owned(&event, &yaml_event_delete);
      builder.take(event);
      if (event.type == YAML_SCALAR_EVENT) remember_scalar(event);
      ended = event.type == YAML_STREAM_END_EVENT;
    }
    refuse_tabs(first_line);
  }

 private:
  void remember_scalar(const yaml_event_t& event) {
    if (has_tabs_)
      scalars_.push_back({event.start_mark.index, event.end_mark.index, event.data.scalar.style});
  }

  // The library lets tabs pass between words. PyYAML's own scanner takes them only in quotes, in blocks of text and
  // in comments.
  void refuse_tabs(std::size_t line) const {
    if (!has_tabs_) return;
    bool comment = false, head = false;
    std::size_t index = 0;  // in characters, as the library counts
    auto scalar = scalars_.begin();
    for (const char c : text_) {
      if ((static_cast<unsigned char>(c) & 0xC0U) == 0x80) continue;
      while (scalar != scalars_.end() && index >= scalar->end) ++scalar;
      const bool inside = scalar != scalars_.end() && index >= scalar->begin;
      if (inside && scalar->is_block() && index == scalar->begin) head = true;  // its first line: "|-  # why"
      const bool is_text = inside && scalar->style != YAML_PLAIN_SCALAR_STYLE && !head;
      if (c == '\n') {
        ++line;
        comment = head = false;
      } else if (c == '#' && (!inside || head)) {
        comment = true;
      } else if (c == '\t' && !is_text && !comment) {
        throw malformed("not valid YAML: a tab between words, which Python's readers refuse")
            .at(fmt::format("line {}", line))
            .hint("write blanks, or put the text in quotes");
      }
      ++index;
    }
  }

  [[noreturn]] void fail(std::size_t first_line) const {
    if (parser_.error == YAML_MEMORY_ERROR) throw std::bad_alloc();
    const std::string what = parser_.problem == nullptr ? "unreadable" : parser_.problem;
    // What was begun and never ended is where the mistake is.
    const bool begun = parser_.context != nullptr && what.find("end of stream") != std::string::npos;
    std::size_t line = begun ? parser_.context_mark.line : parser_.problem_mark.line;
    if (parser_.error == YAML_READER_ERROR) {
      const std::string_view before = text_.substr(0, parser_.problem_offset);
      line = static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
    }
    throw malformed("not valid YAML: " + what + (begun ? std::string(" ") + parser_.context : std::string()))
        .at(fmt::format("line {}", first_line + line));
  }

  struct Scalar {
    std::size_t begin, end;  // characters
    yaml_scalar_style_t style;

    [[nodiscard]] bool is_block() const {
      return style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE;
    }
  };

  std::string_view text_;
  bool has_tabs_;
  std::vector<Scalar> scalars_;  // in order, kept for texts with tabs
  yaml_parser_t parser_{};
};

bool is_plain_word(std::string_view word) {
  return !word.empty() &&
         (std::isalnum(static_cast<unsigned char>(word.front())) != 0 || word.front() == '_') &&
         word.back() != ':' && std::all_of(word.begin(), word.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                  std::string_view("_./+:-").find(c) != std::string_view::npos;
         });
}

bool is_plain(std::string_view text) {
  if (text.empty() || text.size() > 200 ||
      (std::isalpha(static_cast<unsigned char>(text[0])) == 0 && text[0] != '_'))
    return false;
  const std::string lower = lower_ascii(text);
  for (const std::string_view word :
       {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}) {
    if (lower == word) return false;
  }
  const std::vector<std::string_view> words = split(text, ' ');
  return std::all_of(words.begin(), words.end(), is_plain_word);
}

// Characters that PyYAML refuses unless they are escaped.
bool must_escape(char32_t c) {
  return (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 || c == 0xFEFF || c == 0xFFFE || c == 0xFFFF;
}

}  // namespace

const YamlValue* YamlValue::find(std::string_view key) const {
  const auto found =
      std::find_if(members.begin(), members.end(), [key](const Member& member) { return member.key == key; });
  return found == members.end() ? nullptr : &found->value;
}

std::vector<std::string> YamlValue::texts() const {
  std::vector<std::string> out;
  if (is_scalar() && kind != Kind::kNull) out.push_back(text);
  for (const YamlValue& item : items) {
    if (item.is_scalar() && item.kind != Kind::kNull) out.push_back(item.text);
  }
  return out;
}

YamlValue parse_yaml(std::string_view text, std::size_t first_line) {
  if (const std::optional<std::size_t> bad = find_invalid_utf8(text)) {
    const std::string_view before = text.substr(0, *bad);
    throw malformed("not valid UTF-8")
        .at(fmt::format("line {}", first_line + static_cast<std::size_t>(
                                                    std::count(before.begin(), before.end(), '\n'))));
  }
  Builder builder(first_line);
  Parser(text).run(builder, first_line);
  return std::move(builder.root);
}

std::string yaml_string(std::string_view text) {
  if (is_plain(text)) return std::string(text);
  if (find_invalid_utf8(text)) throw usage("'" + escape_name(text) + "' is not valid UTF-8");
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = decode_utf8(text, at);
    if (point.value == '"' || point.value == '\\') {
      out += '\\';
      out += static_cast<char>(point.value);
    } else if (point.value == '\n') {
      out += "\\n";
    } else if (point.value == '\t') {
      out += "\\t";
    } else if (point.value < 0x20) {
      throw usage("'" + escape_name(text) + "' has a control character");
    } else if (must_escape(point.value)) {
      out += fmt::format("\\u{:04X}", static_cast<std::uint32_t>(point.value));
    } else {
      out += text.substr(at, point.size);
    }
    at += point.size;
  }
  return out + '"';
}

std::string yaml_number(double number) {
  if (std::isnan(number)) return ".nan";
  if (std::isinf(number)) return number < 0 ? "-.inf" : ".inf";
  std::string text = fmt::format("{}", number);
  const std::size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) text.insert(exponent, ".0");
  return text;
}

std::string yaml_entry(std::string_view key, std::string_view value) {
  return yaml_string(key) + ": " + yaml_string(value) + "\n";
}

std::string yaml_entry(std::string_view key, const std::vector<std::string>& values) {
  std::string out = yaml_string(key) + ":\n";
  for (const std::string& value : values) out += "- " + yaml_string(value) + "\n";
  return out;
}

}  // namespace mu
