// SPDX-License-Identifier: Apache-2.0
// A parser by descent: alternatives, sequences, items. It follows re/_parser.py function by function, with the
// same errors, and writes each item anew as it reads it. What an item was decides whether it may be repeated. The
// least and the greatest number of characters are kept for each part, as Python wants lookbehinds of one width.
// Groups become numbers, comments and the verbose mode's blanks vanish, and word boundaries become two lookarounds.
#include "base/regex_syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/regex_characters.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::uint64_t kNoLimit = PatternReader::kMost;  // of repetitions and widths
constexpr std::uint64_t kMaxCount = 65535;                // of one repetition, for PCRE2
constexpr std::size_t kMaxDepth = 200;

// Flags of a part of the pattern that this translation handles itself; i, m and s are left to PCRE2.
struct Mode {
  bool verbose = false, ascii = false;
};

struct Width {
  std::uint64_t least = 0, most = 0;
};

std::uint64_t product(std::uint64_t a, std::uint64_t b) {
  return a == 0 || b == 0 ? 0 : a > kNoLimit / b ? kNoLimit : a * b;
}
Width operator+(Width a, Width b) {
  return {std::min(a.least + b.least, kNoLimit), std::min(a.most + b.most, kNoLimit)};
}
Width either(Width a, Width b) {
  return {std::min(a.least, b.least), std::max(a.most, b.most)};
}

constexpr Width kOne{1, 1};

struct Group {
  bool is_open = true;
  Width width;
};

class Translator : PatternReader {
 public:
  using PatternReader::PatternReader;

  RegexSyntax run() {
    alternatives(Mode{}, 0);
    if (peek() != kEnd) throw malformed("a parenthesis is closed that is not open");
    for (const std::uint64_t number : conditions_) {
      if (number >= groups_.size()) throw malformed(fmt::format("group {} does not exist", number));
    }
    if (syntax_.ignores_case && !is_ascii_) throw malformed("it ignores case and is not ASCII");
    syntax_.text = std::move(out_);
    return std::move(syntax_);
  }

 private:
  // What the item before a repetition was.
  enum class Item : std::uint8_t { kNone, kPosition, kRepeated, kOther };

  bool skip_comment(char32_t c);

  // Parts of the pattern: each is written to out_, and its width returned.
  Width alternatives(Mode mode, std::size_t depth);
  Width sequence(Mode& mode, std::size_t depth, bool is_first);
  Width set(Mode mode);
  Width escaped(Mode mode, Item& item);
  Width body(std::string_view open, Mode mode, std::size_t depth);
  Width capture(Mode mode, std::size_t depth, const std::string& name);
  Width extension(Mode& mode, std::size_t depth, bool at_start, Item& item);
  Width named(Mode mode, std::size_t depth);
  Width lookaround(char32_t sign, bool behind, Mode mode, std::size_t depth);
  Width condition(Mode mode, std::size_t depth);
  Width flags(char32_t first, Mode& mode, std::size_t depth, bool at_start, Item& item);
  Width back_reference(std::uint64_t group);
  [[nodiscard]] std::uint64_t group_called(const std::string& name) const;
  void check_reference(std::uint64_t group) const;
  // The width with the repetition that c begins; nothing if c is a brace that stands for itself.
  std::optional<Width> repeated(char32_t c, Item item, Width width);

  void write_literal(char32_t c) {
    if (c >= 0x80) is_ascii_ = false;
    out_ += character_text(c);
  }

  std::string out_;
  RegexSyntax syntax_;
  std::vector<Group> groups_{Group{}};  // 0 is the whole
  std::vector<std::uint64_t> conditions_;
  std::size_t behind_ = 0;  // groups that there were before the outermost lookbehind; 0 outside of one
  bool is_ascii_ = true;
};

// Blanks and comments of the verbose mode.
bool Translator::skip_comment(char32_t c) {
  if (c == ' ' || (c >= '\t' && c <= '\r')) return true;
  if (c != '#') return false;
  while (c != kEnd && c != '\n') c = get();
  return true;
}

Width Translator::alternatives(Mode mode, std::size_t depth) {
  if (depth > kMaxDepth) throw malformed("its groups are nested too deeply");
  Width width = sequence(mode, depth, depth == 0);
  while (take('|')) {
    out_ += '|';
    width = either(width, sequence(mode, depth, false));
  }
  return width;
}

Width Translator::sequence(Mode& mode, std::size_t depth, bool is_first) {
  Width total;
  Width last;  // of the item that a repetition would repeat
  Item item = Item::kNone;
  const auto add = [&](Width width, Item kind) {
    total = total + last;
    last = width;
    item = kind;
  };
  for (char32_t c = peek(); c != kEnd && c != '|' && c != ')'; c = peek()) {
    get();
    if (mode.verbose && skip_comment(c)) continue;
    if (c == '*' || c == '+' || c == '?' || c == '{') {
      if (const std::optional<Width> width = repeated(c, item, last)) {
        last = *width;
        item = Item::kRepeated;
        continue;
      }
    }
    if (c == '\\') {
      Item kind = Item::kOther;
      const Width width = escaped(mode, kind);
      add(width, kind);
    } else if (c == '[') {
      add(set(mode), Item::kOther);
    } else if (c == '(') {
      if (take('?')) {
        Item kind = Item::kOther;
        const Width width = extension(mode, depth, is_first && item == Item::kNone, kind);
        if (kind != Item::kNone) add(width, kind);
      } else {
        add(capture(mode, depth, {}), Item::kOther);
      }
    } else if (c == '^' || c == '$') {
      out_ += static_cast<char>(c);
      add({}, Item::kPosition);
    } else if (c == '.') {
      out_ += '.';
      add(kOne, Item::kOther);
    } else {
      write_literal(c);
      add(kOne, Item::kOther);
    }
  }
  return total + last;
}

std::optional<Width> Translator::repeated(char32_t c, Item item, Width width) {
  std::uint64_t least = c == '+' ? 1 : 0;
  std::uint64_t most = c == '?' ? 1 : kNoLimit;
  if (c == '{') {
    const std::size_t here = place();
    bool is_count = is_ascii_digit(peek());  // "{}" and "{x" stand for themselves
    least = number();
    most = is_count ? least : kNoLimit;
    if (take(',')) {
      is_count = true;
      most = is_ascii_digit(peek()) ? number() : kNoLimit;
    }
    if (!is_count || !take('}')) {
      go_back(here);
      return std::nullopt;
    }
    if (most < least) throw malformed("a repetition has a greatest number below the least");
    if (least > kMaxCount || (most > kMaxCount && most != kNoLimit))
      throw malformed(fmt::format("a repetition has a number above {}", kMaxCount));
  }
  if (item == Item::kNone || item == Item::kPosition) throw malformed("there is nothing to repeat");
  if (item == Item::kRepeated) throw malformed("a repetition is repeated");
  out_ += most == kNoLimit ? fmt::format("{{{},}}", least) : fmt::format("{{{},{}}}", least, most);
  if (take('?'))
    out_ += '?';
  else if (take('+'))
    out_ += '+';
  return Width{product(width.least, least), product(width.most, most)};
}

Width Translator::escaped(Mode mode, Item& item) {
  const Escape known = escape(mode.ascii);
  if (known.character != kEnd) {
    write_literal(known.character);
    return kOne;
  }
  if (!known.kind.empty()) {
    out_ += fmt::format("[{}]", known.kind);
    return kOne;
  }
  const char32_t c = get();
  if (c == 'A' || c == 'Z') {
    out_ += c == 'A' ? "\\A" : "\\z";
    item = Item::kPosition;
    return {};
  }
  if (c == 'b' || c == 'B') {
    const std::string word = kind_text('w', mode.ascii);
    out_ += fmt::format("(?{1}(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", word, c == 'b' ? ':' : '!');
    item = Item::kPosition;
    return {};
  }
  if (!is_ascii_digit(c))
    throw malformed(fmt::format("\\{} is not known to Python's re", static_cast<char>(c)));
  // Octal, if it begins with 0 or has three octal digits; else the number of a group.
  char32_t value = c - '0';
  if (c == '0') {
    for (int i = 0; i < 2 && is_octal(peek()); ++i) value = value * 8 + (get() - '0');
  } else {
    if (!is_ascii_digit(peek())) return back_reference(value);
    const char32_t second = get();
    if (!is_octal(c) || !is_octal(second) || !is_octal(peek()))
      return back_reference(value * 10 + (second - '0'));
    value = (value * 8 + (second - '0')) * 8 + (get() - '0');
    if (value > 0377) throw malformed("an octal escape is above 377");
  }
  write_literal(value);
  return kOne;
}

void Translator::check_reference(std::uint64_t group) const {
  if (group < groups_.size() && groups_[group].is_open)
    throw malformed(fmt::format("it refers to group {} inside of that group", group));
  if (behind_ != 0 && group >= behind_)
    throw malformed(fmt::format("it refers to group {} inside of the same lookbehind", group));
}

Width Translator::back_reference(std::uint64_t group) {
  if (group == 0 || group >= groups_.size())
    throw malformed(fmt::format("group {} does not come before it", group));
  check_reference(group);
  out_ += fmt::format("\\g{{{}}}", group);
  return groups_[group].width;
}

Width Translator::set(Mode mode) {
  const auto member = [&](char32_t c) -> Escape {
    if (c == kEnd) throw malformed("a set of characters does not end");
    if (c != '\\') return {c, {}};
    Escape known = escape(mode.ascii);
    if (known.character != kEnd || !known.kind.empty()) return known;
    const char32_t letter = get();
    if (letter == 'b') return {'\b', {}};
    if (!is_octal(letter))
      throw malformed(fmt::format("\\{} is not known to Python's re in a set", static_cast<char>(letter)));
    char32_t value = letter - '0';
    for (int i = 0; i < 2 && is_octal(peek()); ++i) value = value * 8 + (get() - '0');
    if (value > 0377) throw malformed("an octal escape is above 377");
    return {value, {}};
  };
  const auto write = [this](const Escape& one) {
    if (one.character != kEnd)
      write_literal(one.character);
    else
      out_ += one.kind;
  };
  out_ += take('^') ? "[^" : "[";
  std::size_t members = 0;
  for (char32_t c = get(); c != ']' || members == 0; c = get()) {
    const Escape low = member(c);
    ++members;
    write(low);
    if (!take('-')) continue;
    const char32_t next = get();
    if (next == ']') {
      write_literal('-');
      break;
    }
    const Escape high = member(next);
    if (low.character == kEnd || high.character == kEnd || high.character < low.character)
      throw malformed("a range in a set is upside down, or does not lead from character to character");
    out_ += '-';
    write(high);
  }
  out_ += ']';
  syntax_.largest_set = std::max(syntax_.largest_set, members);
  return kOne;
}

Width Translator::body(std::string_view open, Mode mode, std::size_t depth) {
  out_ += open;
  const Width width = alternatives(mode, depth + 1);
  if (!take(')')) throw malformed("a parenthesis is not closed");
  out_ += ')';
  return width;
}

Width Translator::capture(Mode mode, std::size_t depth, const std::string& name) {
  const std::size_t index = groups_.size();
  if (!name.empty() && !syntax_.groups.emplace(name, index).second)
    throw malformed(fmt::format("two groups are called '{}'", name));
  groups_.emplace_back();
  const Width width = body("(", mode, depth);
  groups_[index] = {false, width};
  return width;
}

// After "(?".
Width Translator::extension(Mode& mode, std::size_t depth, bool at_start, Item& item) {
  const char32_t c = get();
  if (c == 'P') return named(mode, depth);
  if (c == ':') return body("(?:", mode, depth);
  if (c == '>') return body("(?>", mode, depth);
  if (c == '=' || c == '!') return lookaround(c, false, mode, depth);
  if (c == '<' && (peek() == '=' || peek() == '!')) return lookaround(get(), true, mode, depth);
  if (c == '(') return condition(mode, depth);
  if (c == '#') {
    for (char32_t next = get(); next != ')'; next = get()) {
      if (next == kEnd) throw malformed("a comment is not closed");
    }
    item = Item::kNone;
    return {};
  }
  return flags(c, mode, depth, at_start, item);
}

std::uint64_t Translator::group_called(const std::string& name) const {
  const auto found = syntax_.groups.find(name);
  if (found == syntax_.groups.end()) throw malformed(fmt::format("group '{}' does not come before it", name));
  return found->second;
}

// (?P<name>...) and (?P=name).
Width Translator::named(Mode mode, std::size_t depth) {
  const char32_t c = get();
  if (c != '<' && c != '=') throw malformed("it has a group that Python's re does not know");
  const std::string name = name_until(c == '<' ? '>' : ')');
  if (is_ascii_digit(static_cast<unsigned char>(name[0])))
    throw malformed(fmt::format("'{}' is not a name of a group", name));
  if (c == '<') return capture(mode, depth, name);
  return back_reference(group_called(name));
}

Width Translator::lookaround(char32_t sign, bool behind, Mode mode, std::size_t depth) {
  const std::size_t outer = behind_;
  if (behind && behind_ == 0) behind_ = groups_.size();
  // PCRE2 repeats an assertion by rules of its own, but not a group that holds one.
  const Width width = body(fmt::format("(?:(?{}{}", behind ? "<" : "", static_cast<char>(sign)), mode, depth);
  out_ += ')';
  behind_ = outer;
  if (behind && width.least != width.most) throw malformed("a lookbehind has no fixed width");
  return {};
}

// (?(1)yes|no): after "(?(".
Width Translator::condition(Mode mode, std::size_t depth) {
  if (depth > kMaxDepth) throw malformed("its groups are nested too deeply");
  const std::string name = name_until(')');
  std::uint64_t group = 0;
  if (is_digits(name)) {
    for (const char digit : name)
      group = std::min<std::uint64_t>(group * 10 + static_cast<std::uint64_t>(digit - '0'), kNoLimit);
    if (group == 0) throw malformed("a condition names group 0");
    conditions_.push_back(group);
  } else {
    group = group_called(name);
  }
  check_reference(group);
  out_ += fmt::format("(?({})", group);
  const Width yes = sequence(mode, depth + 1, false);
  Width no;
  if (take('|')) {
    out_ += '|';
    no = sequence(mode, depth + 1, false);
  }
  if (!take(')')) throw malformed("a condition is not closed, or has more than two branches");
  out_ += ')';
  return either(yes, no);
}

// (?im), at the start alone, or (?im-s:...).
Width Translator::flags(char32_t first, Mode& mode, std::size_t depth, bool at_start, Item& item) {
  Mode inner = mode;
  std::string on;
  std::string off;
  std::string kept_on;
  std::string kept_off;
  bool turns_off = false;
  char32_t c = first;
  for (; c != ':' && c != ')'; c = get()) {
    if (c == '-' && !turns_off) {
      turns_off = true;
      continue;
    }
    if (c >= 0x80 || std::string_view("aimsux").find(static_cast<char>(c)) == std::string_view::npos)
      throw malformed("it has a group that Python's re does not know");
    const char flag = static_cast<char>(c);
    (turns_off ? off : on) += flag;
    if (flag == 'x') inner.verbose = !turns_off;
    if (flag == 'a' || flag == 'u') inner.ascii = flag == 'a';
    if (flag == 'i' || flag == 'm' || flag == 's') (turns_off ? kept_off : kept_on) += flag;
    if (flag == 'i') syntax_.ignores_case = true;
  }
  const bool types_clash = on.find('a') != std::string::npos && on.find('u') != std::string::npos;
  if (types_clash || off.find_first_of("au") != std::string::npos ||
      off.find_first_of(on) != std::string::npos || (turns_off && off.empty()))
    throw malformed("its flags contradict each other");
  if (c == ':')
    return body(fmt::format("(?{}{}{}:", kept_on, kept_off.empty() ? "" : "-", kept_off), inner, depth);
  if (turns_off || !at_start) throw malformed("it has flags that are not at its start");
  mode = inner;
  if (!kept_on.empty()) out_ += fmt::format("(?{})", kept_on);
  item = Item::kNone;
  return {};
}

}  // namespace

RegexSyntax translate_regex(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace mu
