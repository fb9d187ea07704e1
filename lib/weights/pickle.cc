// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>

#include "base/bytes.h"
#include "base/text.h"

namespace mu {
namespace {

struct Fault {
  std::string message;
  bool truncated = false;
};

// Opcodes that torch/_weights_only_unpickler.py executes; all others make it refuse the file.
constexpr std::string_view kWeightsOnlyOpcodes =
    "\x80.(c\x81Rbaesut\x85\x86\x87N\x89\x88)]}\x8fJKMGXUQhjqr\x8a";

// Python 2's str and bytes become text when they are UTF-8.
bool is_utf8_with_surrogates(std::string_view text) {
  while (const std::optional<std::size_t> bad = find_invalid_utf8(text)) {
    const std::string_view rest = text.substr(*bad);
    const bool surrogate = rest.size() >= 3 && static_cast<unsigned char>(rest[0]) == 0xED &&
                           (static_cast<unsigned char>(rest[1]) & 0xE0) == 0xA0 &&
                           (static_cast<unsigned char>(rest[2]) & 0xC0) == 0x80;
    if (!surrogate) return false;
    text = rest.substr(3);
  }
  return true;
}

}  // namespace

// Executes the opcodes. Each step either succeeds or throws Fault.
class PickleMachine {
 public:
  explicit PickleMachine(Pickle& pickle) : p_(pickle), data_(pickle.data_) {}

  void run() {
    try {
      while (step()) {
      }
      check_depth();
    } catch (const Fault& fault) {
      p_.fault_ = PickleFault{op_at_, fault.message, fault.truncated};
      p_.root_ = kNoNode;
    }
  }

 private:
  using Kind = PickleKind;

  // --- the data ---

  std::string_view take(std::uint64_t count) {
    if (count > data_.size() - at_) throw Fault{"the pickle ends here", true};
    const std::string_view piece = data_.substr(at_, static_cast<std::size_t>(count));
    at_ += piece.size();
    return piece;
  }
  template <typename T>
  T number() {
    return load_le<T>(as_bytes(take(sizeof(T))).data());
  }
  std::string_view line() {
    const std::size_t end = data_.find('\n', at_);
    if (end == std::string_view::npos) throw Fault{"the pickle ends in a line", true};
    const std::string_view text = data_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }
  std::uint64_t length_i32() {
    const auto length = number<std::int32_t>();
    if (length < 0) throw Fault{fmt::format("a length of {}", length)};
    return static_cast<std::uint64_t>(length);
  }

  // --- nodes ---

  PickleId add(Kind kind, std::uint32_t a = 0, std::uint32_t b = 0, bool owned = false) {
    if (p_.nodes_.size() * sizeof(Pickle::Node) + references_ * sizeof(PickleId) > Pickle::kMaxMemory)
      throw Fault{
          fmt::format("it has more than {} values, more than are read", group_digits(p_.nodes_.size()))};
    p_.nodes_.push_back({kind, owned, static_cast<std::uint32_t>(op_at_), a, b});
    return static_cast<PickleId>(p_.nodes_.size() - 1);
  }
  PickleId add_number(Kind kind, std::uint64_t bits) {
    return add(kind, static_cast<std::uint32_t>(bits), static_cast<std::uint32_t>(bits >> 32));
  }
  PickleId add_view(Kind kind, std::string_view text) {
    return add(kind, static_cast<std::uint32_t>(text.data() - data_.data()),
               static_cast<std::uint32_t>(text.size()));
  }
  PickleId add_owned(Kind kind, std::string_view text) {
    const std::size_t begin = p_.extra_.size();
    p_.extra_ += text;
    return add(kind, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(text.size()), true);
  }
  PickleId add_text(std::string_view text) {
    if (!is_utf8_with_surrogates(text)) throw Fault{"a text is not UTF-8"};
    return add_view(Kind::kText, text);
  }
  // What Python 2 called a str: text when it is UTF-8.
  PickleId add_string(std::string_view text, bool owned) {
    const Kind kind = is_utf8_with_surrogates(text) ? Kind::kText : Kind::kBytes;
    return owned ? add_owned(kind, text) : add_view(kind, text);
  }
  PickleId add_container(Kind kind, std::vector<PickleId> items = {}) {
    references_ += items.size() + 16;  // a vector of its own has a price
    p_.containers_.push_back(std::move(items));
    return add(kind, static_cast<std::uint32_t>(p_.containers_.size() - 1));
  }
  PickleId add_tuple(std::span<const PickleId> items) {
    references_ += items.size();
    const auto begin = static_cast<std::uint32_t>(p_.items_.size());
    p_.items_.insert(p_.items_.end(), items.begin(), items.end());
    return add(Kind::kTuple, begin, static_cast<std::uint32_t>(items.size()));
  }
  PickleId add_global(std::string_view module, std::string_view name) {
    p_.globals_.push_back({module, name, op_at_});
    references_ += 10;
    return add(Kind::kGlobal, static_cast<std::uint32_t>(p_.globals_.size() - 1));
  }
  PickleId add_call(CallKind kind, PickleId callee, PickleId args, PickleId kwargs = kNoNode) {
    p_.calls_.push_back({kind, callee, args, kwargs});
    references_ += sizeof(PickleCall) / sizeof(PickleId);
    return add(Kind::kCall, static_cast<std::uint32_t>(p_.calls_.size() - 1));
  }
  PickleId add_int(std::int64_t value) { return add_number(Kind::kInt, static_cast<std::uint64_t>(value)); }

  // --- the stack ---

  void push(PickleId id) {
    if (stack_.size() >= Pickle::kMaxStack) throw Fault{"its stack grows beyond all bounds"};
    stack_.push_back(id);
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleId pop() {
    if (stack_.size() <= floor()) throw Fault{"it takes a value from an empty stack"};
    const PickleId id = stack_.back();
    stack_.pop_back();
    return id;
  }
  PickleId& top() {
    if (stack_.size() <= floor()) throw Fault{"it takes a value from an empty stack"};
    return stack_.back();
  }
  // Everything above the last mark, which goes.
  std::vector<PickleId> pop_mark() {
    if (marks_.empty()) throw Fault{"it goes back to a mark that is not there"};
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleId> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void push_tuple(std::size_t count) {
    std::array<PickleId, 3> items{};
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push(add_tuple(std::span(items).first(count)));
  }

  // --- the memo ---

  void remember(std::uint64_t index) {
    // Writers number what they remember without gaps; a table with holes would be an attack on our memory.
    if (index > memo_.size() + 65536)
      throw Fault{fmt::format("memo entry {} is far beyond the last one", index)};
    const PickleId id = top();
    if (index >= memo_.size()) {
      references_ += index + 1 - memo_.size();
      memo_.resize(static_cast<std::size_t>(index) + 1, kNoNode);
    }
    memo_[static_cast<std::size_t>(index)] = id;
  }
  void recall(std::uint64_t index) {
    if (index >= memo_.size() || memo_[static_cast<std::size_t>(index)] == kNoNode)
      throw Fault{fmt::format("memo entry {} was never set", index)};
    push(memo_[static_cast<std::size_t>(index)]);
  }
  std::uint64_t index_line() {
    const std::string_view text = line();
    std::uint64_t index = 0;
    const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), index);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
      throw Fault{"a memo index is no number"};
    return index;
  }

  // --- numbers and texts of protocol 0 ---

  void int_line(bool is_long) {
    std::string_view text = line();
    if (!is_long && (text == "00" || text == "01")) return push(add(Kind::kBool, text == "01" ? 1 : 0));
    if (is_long && text.ends_with('L')) text.remove_suffix(1);
    const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos)
      throw Fault{"a whole number is not written in digits"};
    if (digits.size() > Pickle::kMaxNumber) throw Fault{fmt::format("a number has {} digits", digits.size())};
    std::int64_t value = 0;
    const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    push(parsed.ec == std::errc() ? add_int(value) : add_view(Kind::kBigInt, text));
  }
  void long_bytes(std::uint64_t size) {
    if (size > Pickle::kMaxNumber) throw Fault{fmt::format("a number has {} bytes", size)};
    const std::string_view bytes = take(size);
    const bool negative = !bytes.empty() && static_cast<signed char>(bytes.back()) < 0;
    std::uint64_t low = negative ? ~std::uint64_t{0} : 0;
    std::memcpy(&low, bytes.data(), std::min<std::size_t>(bytes.size(), 8));
    if (bytes.size() <= 8) return push(add_number(Kind::kInt, low));
    std::string text = negative ? "-0x" : "0x";
    // The magnitude of two's complement: inverted bits plus one.
    std::string digits;
    unsigned carry = 1;
    for (const char c : bytes) {
      unsigned value = static_cast<unsigned char>(c);
      if (negative) {
        value = (value ^ 0xFFU) + carry;
        carry = value >> 8;
        value &= 0xFFU;
      }
      digits.insert(0, fmt::format("{:02x}", value));
    }
    push(add_owned(Kind::kBigInt, text + digits));
  }
  void float_line() {
    const std::string text(line());
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') throw Fault{"a number can't be read"};
    push(add_number(Kind::kFloat, std::bit_cast<std::uint64_t>(value)));
  }
  void string_line() {
    const std::string_view text = line();
    if (text.size() < 2 || (text.front() != '\'' && text.front() != '"') || text.back() != text.front())
      throw Fault{"a string is not quoted"};
    push(add_string(unescape(text.substr(1, text.size() - 2), false), true));
  }
  // Python's string escapes, or with `unicode` only \uXXXX and \UXXXXXXXX.
  std::string unescape(std::string_view text, bool unicode) {
    std::string out;
    const auto code = [&](std::size_t at, std::size_t digits) -> std::optional<std::uint32_t> {
      std::uint32_t value = 0;
      if (at + digits > text.size()) return std::nullopt;
      const std::from_chars_result parsed =
          std::from_chars(text.data() + at, text.data() + at + digits, value, 16);
      if (parsed.ptr != text.data() + at + digits) return std::nullopt;
      return value;
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      const char next = c == '\\' && i + 1 < text.size() ? text[i + 1] : '\0';
      if (unicode) {
        const std::size_t digits = next == 'u' ? 4 : next == 'U' ? 8 : 0;
        if (digits > 0) {
          const std::optional<std::uint32_t> value = code(i + 2, digits);
          if (!value || *value > 0x10FFFF) throw Fault{"a text has a broken escape"};
          append_utf8(out, static_cast<char32_t>(*value));
          i += 1 + digits;
        } else {
          append_utf8(out, static_cast<unsigned char>(c));  // Latin-1
        }
        continue;
      }
      if (next == '\0') {
        out += c;
        continue;
      }
      constexpr std::string_view kEscapes = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
      const std::size_t known = kEscapes.find(next);
      if (known != std::string_view::npos) {
        out += kMeanings[known];
        ++i;
      } else if (next == 'x') {
        const std::optional<std::uint32_t> value = code(i + 2, 2);
        if (!value) throw Fault{"a string has a broken escape"};
        out += static_cast<char>(*value);
        i += 3;
      } else if (next >= '0' && next <= '7') {
        unsigned value = 0;
        std::size_t digits = 0;
        while (digits < 3 && i + 1 + digits < text.size() && text[i + 1 + digits] >= '0' &&
               text[i + 1 + digits] <= '7')
          value = value * 8 + static_cast<unsigned>(text[i + 1 + digits++] - '0');
        out += static_cast<char>(value & 0xFFU);
        i += digits;
      } else {
        out += c;
      }
    }
    return out;
  }

  // --- objects ---

  void object_from(std::vector<PickleId> args, PickleId callee, CallKind kind) {
    push(add_call(kind, callee, add_tuple(args)));
  }
  // The container that items go to: a list, or what collects them for an object.
  std::vector<PickleId>* target(PickleId id, Kind kind) {
    if (p_.kind(id) == kind) return &p_.containers_[p_.nodes_[id].a];
    if (p_.kind(id) != Kind::kCall) return nullptr;
    PickleCall& call = p_.calls_[p_.nodes_[id].a];
    PickleId& collected = kind == Kind::kDict ? call.dict : call.list;
    if (collected == kNoNode) collected = add_container(kind == Kind::kDict ? kind : Kind::kList);
    return &p_.containers_[p_.nodes_[collected].a];
  }
  void append_all(std::span<const PickleId> items, Kind kind) {
    const PickleId id = top();
    std::vector<PickleId>* into = target(id, kind);
    if (into == nullptr) throw Fault{"it appends to what is no list, set or object"};
    references_ += items.size();
    into->insert(into->end(), items.begin(), items.end());
  }
  void set_items(std::span<const PickleId> pairs) {
    if (pairs.size() % 2 != 0) throw Fault{"a dict gets a key without a value"};
    std::vector<PickleId>* into = target(top(), Kind::kDict);
    if (into == nullptr) throw Fault{"it sets an item of what is no dict or object"};
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const Kind key = p_.kind(pairs[i]);
      if (key == Kind::kList || key == Kind::kDict || key == Kind::kSet)
        throw Fault{"a list, dict or set is the key of a dict"};
    }
    references_ += pairs.size();
    into->insert(into->end(), pairs.begin(), pairs.end());
  }
  void build() {
    const PickleId state = pop();
    const PickleId target = top();
    if (p_.kind(target) == Kind::kCall) {
      PickleCall& call = p_.calls_[p_.nodes_[target].a];
      if (call.state == kNoNode) {
        call.state = state;
        return;
      }
    }
    references_ += 4;
    p_.builds_.push_back({target, state, op_at_});
  }
  std::string_view name_operand(PickleId id) {
    if (p_.kind(id) != Kind::kText) throw Fault{"the name of a class or function is no text"};
    if (!p_.nodes_[id].owned) return p_.text(id);
    return p_.names_.emplace_back(p_.text(id));  // extra_ may move
  }
  void extension(std::int64_t code) {
    if (code <= 0) throw Fault{fmt::format("extension code {}", code)};
    push(add_global("copyreg", p_.names_.emplace_back(fmt::format("extension({})", code))));
  }

  bool step() {
    op_at_ = at_;
    const auto op = static_cast<unsigned char>(take(1)[0]);
    if (!p_.foreign_opcode_ && kWeightsOnlyOpcodes.find(static_cast<char>(op)) == std::string_view::npos)
      p_.foreign_opcode_ =
          op >= 0x21 && op < 0x7F ? fmt::format("'{}'", static_cast<char>(op)) : fmt::format("0x{:02x}", op);
    switch (op) {
      case 0x80:  // PROTO
        p_.protocol_ = number<std::uint8_t>();
        if (p_.protocol_ > 5) throw Fault{fmt::format("pickle protocol {} is unknown", p_.protocol_)};
        return true;
      case '.':  // STOP
        p_.root_ = pop();
        p_.end_ = at_;
        return false;
      case 0x95:  // FRAME
        if (number<std::uint64_t>() > data_.size() - at_)
          throw Fault{"a frame is longer than the pickle", true};
        return true;

      case 'N':
        push(add(Kind::kNone));
        return true;
      case 0x88:
      case 0x89:
        push(add(Kind::kBool, op == 0x88 ? 1 : 0));
        return true;
      case 'I':
        int_line(false);
        return true;
      case 'L':
        int_line(true);
        return true;
      case 'J':
        push(add_int(number<std::int32_t>()));
        return true;
      case 'K':
        push(add_int(number<std::uint8_t>()));
        return true;
      case 'M':
        push(add_int(number<std::uint16_t>()));
        return true;
      case 0x8a:
        long_bytes(number<std::uint8_t>());
        return true;
      case 0x8b:
        long_bytes(length_i32());
        return true;
      case 'F':
        float_line();
        return true;
      case 'G': {
        const auto bits = number<std::uint64_t>();
        push(add_number(Kind::kFloat, __builtin_bswap64(bits)));
        return true;
      }

      case 'X':
        push(add_text(take(number<std::uint32_t>())));
        return true;
      case 0x8c:
        push(add_text(take(number<std::uint8_t>())));
        return true;
      case 0x8d:
        push(add_text(take(number<std::uint64_t>())));
        return true;
      case 'V':
        push(add_owned(Kind::kText, unescape(line(), true)));
        return true;
      case 'S':
        string_line();
        return true;
      case 'T':
        push(add_string(take(length_i32()), false));
        return true;
      case 'U':
        push(add_string(take(number<std::uint8_t>()), false));
        return true;
      case 'C':
        push(add_view(Kind::kBytes, take(number<std::uint8_t>())));
        return true;
      case 'B':
        push(add_view(Kind::kBytes, take(number<std::uint32_t>())));
        return true;
      case 0x8e:
      case 0x96:  // BYTEARRAY8
        push(add_view(Kind::kBytes, take(number<std::uint64_t>())));
        return true;
      case 0x97:
        push(add(Kind::kBuffer));
        return true;
      case 0x98:
        top();
        return true;

      case '(':
        if (marks_.size() >= Pickle::kMaxStack) throw Fault{"its marks grow beyond all bounds"};
        marks_.push_back(stack_.size());
        return true;
      case '0':
        if (!marks_.empty() && marks_.back() == stack_.size()) {
          marks_.pop_back();
        } else {
          pop();
        }
        return true;
      case '1':
        pop_mark();
        return true;
      case '2':
        push(top());
        return true;

      case ')':
        push(add_tuple({}));
        return true;
      case 't':
        push(add_tuple(pop_mark()));
        return true;
      case 0x85:
      case 0x86:
      case 0x87:
        push_tuple(op - 0x84U);
        return true;
      case ']':
        push(add_container(Kind::kList));
        return true;
      case 'l':
        push(add_container(Kind::kList, pop_mark()));
        return true;
      case 'a': {
        const PickleId item = pop();
        append_all(std::span(&item, 1), Kind::kList);
        return true;
      }
      case 'e': {
        const std::vector<PickleId> items = pop_mark();
        append_all(items, Kind::kList);
        return true;
      }
      case '}':
        push(add_container(Kind::kDict));
        return true;
      case 'd': {
        const std::vector<PickleId> pairs = pop_mark();
        push(add_container(Kind::kDict));
        set_items(pairs);
        return true;
      }
      case 's': {
        const PickleId value = pop();
        const std::array<PickleId, 2> pair = {pop(), value};
        set_items(pair);
        return true;
      }
      case 'u': {
        const std::vector<PickleId> pairs = pop_mark();
        set_items(pairs);
        return true;
      }
      case 0x8f:
        push(add_container(Kind::kSet));
        return true;
      case 0x90: {
        const std::vector<PickleId> items = pop_mark();
        append_all(items, Kind::kSet);
        return true;
      }
      case 0x91:
        push(add_container(Kind::kSet, pop_mark()));
        return true;

      case 'p':
        remember(index_line());
        return true;
      case 'q':
        remember(number<std::uint8_t>());
        return true;
      case 'r':
        remember(number<std::uint32_t>());
        return true;
      case 0x94:
        remember(memo_.size());
        return true;
      case 'g':
        recall(index_line());
        return true;
      case 'h':
        recall(number<std::uint8_t>());
        return true;
      case 'j':
        recall(number<std::uint32_t>());
        return true;

      case 'c': {
        const std::string_view module = line();
        push(add_global(module, line()));
        return true;
      }
      case 0x93: {
        const std::string_view name = name_operand(pop());
        push(add_global(name_operand(pop()), name));
        return true;
      }
      case 'i': {
        const std::string_view module = line();
        const PickleId callee = add_global(module, line());
        object_from(pop_mark(), callee, CallKind::kInstance);
        return true;
      }
      case 'o': {
        std::vector<PickleId> args = pop_mark();
        if (args.empty()) throw Fault{"an object has no class"};
        const PickleId callee = args.front();
        args.erase(args.begin());
        object_from(std::move(args), callee, CallKind::kObject);
        return true;
      }
      case 'R':
      case 0x81: {
        const PickleId args = pop();
        push(add_call(op == 'R' ? CallKind::kReduce : CallKind::kNew, pop(), args));
        return true;
      }
      case 0x92: {
        const PickleId kwargs = pop();
        const PickleId args = pop();
        push(add_call(CallKind::kNewEx, pop(), args, kwargs));
        return true;
      }
      case 'b':
        build();
        return true;
      case 0x82:
        extension(number<std::uint8_t>());
        return true;
      case 0x83:
        extension(number<std::uint16_t>());
        return true;
      case 0x84:
        extension(number<std::int32_t>());
        return true;

      case 'P': {
        const PickleId id = add_view(Kind::kText, line());
        push(add_persistent(id));
        return true;
      }
      case 'Q':
        push(add_persistent(pop()));
        return true;
      default:
        throw Fault{fmt::format("opcode 0x{:02x} is unknown", op)};
    }
  }

  PickleId add_persistent(PickleId value) {
    p_.items_.push_back(value);
    ++references_;
    return add(Kind::kPersistent, static_cast<std::uint32_t>(p_.items_.size() - 1), 1);
  }

  // Every path from the root, cycles aside, must stay within kMaxDepth: those who walk the tree may recurse.
  void check_depth() {
    constexpr std::uint16_t kNew = 0, kOnPath = 0xFFFF;
    std::vector<std::uint16_t> height(p_.nodes_.size(), kNew);
    struct Step {
      PickleId id;
      std::size_t next;
      std::uint16_t highest;  // of its children so far
    };
    std::vector<Step> path = {{p_.root_, 0, 0}};
    height[p_.root_] = kOnPath;
    while (!path.empty()) {
      Step& step = path.back();
      const PickleId child = child_of(step.id, step.next++);
      if (child != kNoNode && height[child] == kNew) {
        height[child] = kOnPath;
        path.push_back({child, 0, 0});
      } else if (child != kNoNode) {
        if (height[child] != kOnPath) step.highest = std::max(step.highest, height[child]);
        continue;
      } else {
        const auto own = static_cast<std::uint16_t>(step.highest + 1);
        height[step.id] = own;
        path.pop_back();
        if (!path.empty()) path.back().highest = std::max(path.back().highest, own);
      }
      if (path.size() > Pickle::kMaxDepth || (!path.empty() && path.back().highest > Pickle::kMaxDepth)) {
        op_at_ = p_.offset(path.back().id);
        throw Fault{fmt::format("it nests deeper than {} levels", Pickle::kMaxDepth)};
      }
    }
  }
  // The n-th node that a node refers to; kNoNode past the last.
  PickleId child_of(PickleId id, std::size_t n) const {
    if (p_.kind(id) != Kind::kCall) {
      const std::span<const PickleId> items = p_.items(id);
      return n < items.size() ? items[n] : kNoNode;
    }
    const PickleCall& call = p_.call(id);
    for (const PickleId part : {call.callee, call.args, call.kwargs, call.state, call.list, call.dict}) {
      if (part != kNoNode && n-- == 0) return part;
    }
    return kNoNode;
  }

  Pickle& p_;
  std::string_view data_;
  std::size_t at_ = 0;
  std::size_t op_at_ = 0;
  std::vector<PickleId> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  std::vector<PickleId> memo_;
  std::size_t references_ = 0;  // of nodes to nodes, in units of a PickleId
};

Pickle::Pickle(std::string_view data) : data_(data.substr(0, kMaxBytes)) {
  PickleMachine(*this).run();
}

std::int64_t Pickle::integer(PickleId id) const {
  return static_cast<std::int64_t>(nodes_[id].a | static_cast<std::uint64_t>(nodes_[id].b) << 32);
}

double Pickle::real(PickleId id) const {
  return std::bit_cast<double>(nodes_[id].a | static_cast<std::uint64_t>(nodes_[id].b) << 32);
}

std::string_view Pickle::text(PickleId id) const {
  const Node& node = nodes_[id];
  if (node.kind != PickleKind::kText && node.kind != PickleKind::kBytes && node.kind != PickleKind::kBigInt)
    return {};
  return (node.owned ? std::string_view(extra_) : data_).substr(node.a, node.b);
}

std::span<const PickleId> Pickle::items(PickleId id) const {
  const Node& node = nodes_[id];
  switch (node.kind) {
    case PickleKind::kTuple:
    case PickleKind::kPersistent:
      return std::span(items_).subspan(node.a, node.b);
    case PickleKind::kList:
    case PickleKind::kDict:
    case PickleKind::kSet:
      return containers_[node.a];
    default:
      return {};
  }
}

std::span<const PickleId> pickle_mapping(const Pickle& pickle, PickleId id) {
  if (id == kNoNode) return {};
  if (pickle.kind(id) == PickleKind::kDict) return pickle.items(id);
  if (pickle.kind(id) != PickleKind::kCall || pickle.call(id).dict == kNoNode) return {};
  return pickle.items(pickle.call(id).dict);
}

PickleId pickle_find(const Pickle& pickle, PickleId dict, std::string_view key) {
  const std::span<const PickleId> pairs = pickle_mapping(pickle, dict);
  PickleId found = kNoNode;
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    if (pickle.kind(pairs[i]) == PickleKind::kText && pickle.text(pairs[i]) == key) found = pairs[i + 1];
  }
  return found;
}

std::string pickle_name(const Pickle& pickle, PickleId id) {
  if (id == kNoNode) return {};
  if (pickle.kind(id) == PickleKind::kCall) id = pickle.call(id).callee;
  if (pickle.kind(id) != PickleKind::kGlobal) return {};
  const PickleGlobal& global = pickle.global(id);
  return std::string(global.module) + "." + std::string(global.name);
}

}  // namespace mu
