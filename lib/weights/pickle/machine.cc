// SPDX-License-Identifier: Apache-2.0
// The machine that pickle opcodes are written for, on nodes: a stack with marks, a memo, and the values.
#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "base/bytes.h"
#include "weights/pickle/builder.h"

namespace mu {
namespace {

// Opcodes that torch/_weights_only_unpickler.py executes; all others make it refuse the file.
constexpr std::string_view kWeightsOnlyOpcodes =
    "\x80.(c\x81Rbaesut\x85\x86\x87N\x89\x88)]}\x8fJKMGXUQhjqr\x8a";

// The n-th node that a node refers to; kNoNode past the last.
PickleId child_of(const Pickle& p, PickleId id, std::size_t n) {
  if (p.kind(id) != PickleKind::kCall) {
    const std::span<const PickleId> items = p.items(id);
    return n < items.size() ? items[n] : kNoNode;
  }
  const PickleCall& call = p.call(id);
  for (const PickleId part : {call.callee, call.args, call.kwargs, call.state, call.list, call.dict}) {
    if (part != kNoNode && n-- == 0) return part;
  }
  return kNoNode;
}

// A node at which a path from the root, cycles aside, is longer than kMaxDepth; those who walk the tree
// recurse.
std::optional<PickleId> find_too_deep(const Pickle& p) {
  constexpr std::uint16_t kNew = 0, kOnPath = 0xFFFF;
  std::vector<std::uint16_t> height(p.node_count(), kNew);
  struct Step {
    PickleId id;
    std::size_t next;
    std::uint16_t highest;  // of its children so far
  };
  std::vector<Step> path = {{p.root(), 0, 0}};
  height[p.root()] = kOnPath;
  while (!path.empty()) {
    Step& step = path.back();
    const PickleId child = child_of(p, step.id, step.next++);
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
      return path.back().id;
    }
  }
  return std::nullopt;
}

}  // namespace

// Executes the opcodes. Each step either succeeds or throws PickleStop.
class PickleMachine {
 public:
  PickleMachine(Pickle& pickle, std::size_t max_memory)
      : p_(pickle), make_(pickle, max_memory), data_(pickle.data_) {}

  void run() {
    try {
      while (step()) {
        if (op_at_ < frame_end_ && at_ > frame_end_) odd("a value crosses the end of its frame");
      }
      if (const std::optional<PickleId> deep = find_too_deep(p_)) {
        op_at_ = p_.offset(*deep);
        throw PickleStop{fmt::format("it nests deeper than {} levels", Pickle::kMaxDepth)};
      }
    } catch (const PickleStop& fault) {
      p_.fault_ = PickleFault{op_at_, fault.message, fault.truncated};
      p_.root_ = kNoNode;
    }
  }

 private:
  using Kind = PickleKind;

  // --- the data ---

  std::string_view take(std::uint64_t count) {
    if (count > data_.size() - at_) throw PickleStop{"the pickle ends here", true};
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
    if (end == std::string_view::npos) throw PickleStop{"the pickle ends in a line", true};
    const std::string_view text = data_.substr(at_, end - at_);
    at_ = end + 1;
    return text;
  }
  // One that is decoded into memory of its own.
  std::string_view escaped_line() {
    const std::string_view text = line();
    if (text.size() > Pickle::kMaxLine)
      throw PickleStop{fmt::format("a line has {} bytes", group_digits(text.size()))};
    return text;
  }
  std::uint64_t length_i32() {
    const auto length = number<std::int32_t>();
    if (length < 0) throw PickleStop{fmt::format("a length of {}", length)};
    return static_cast<std::uint64_t>(length);
  }

  // --- the stack ---

  void push(PickleId id) {
    if (stack_.size() >= Pickle::kMaxStack) throw PickleStop{"its stack grows beyond all bounds"};
    stack_.push_back(id);
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleId pop() {
    if (stack_.size() <= floor()) throw PickleStop{"it takes a value from an empty stack"};
    const PickleId id = stack_.back();
    stack_.pop_back();
    return id;
  }
  PickleId& top() {
    if (stack_.size() <= floor()) throw PickleStop{"it takes a value from an empty stack"};
    return stack_.back();
  }
  // Everything above the last mark, which goes.
  std::vector<PickleId> pop_mark() {
    if (marks_.empty()) throw PickleStop{"it goes back to a mark that is not there"};
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleId> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void push_tuple(std::size_t count) {
    std::array<PickleId, 3> items{};
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push(make_.add_tuple(std::span(items).first(count)));
  }

  // --- the memo ---

  void remember(std::uint64_t index) {
    // Writers number what they remember without gaps; a table with holes would be an attack on our memory.
    if (index > memo_.size() + 65536)
      throw PickleStop{fmt::format("memo entry {} is far beyond the last one", index)};
    const PickleId id = top();
    if (index >= memo_.size()) {
      make_.charge(static_cast<std::size_t>(index) + 1 - memo_.size());
      memo_.resize(static_cast<std::size_t>(index) + 1, kNoNode);
    }
    PickleId& entry = memo_[static_cast<std::size_t>(index)];
    if (entry == kNoNode) ++remembered_;
    entry = id;
  }
  void recall(std::uint64_t index) {
    if (index >= memo_.size() || memo_[static_cast<std::size_t>(index)] == kNoNode)
      throw PickleStop{fmt::format("memo entry {} was never set", index)};
    push(memo_[static_cast<std::size_t>(index)]);
  }
  std::uint64_t index_line() {
    const std::string_view text = line();
    std::uint64_t index = 0;
    const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), index);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
      throw PickleStop{"a memo index is no number"};
    return index;
  }

  // --- numbers ---

  void int_line() {
    const std::string_view text = line();
    if (text == "00" || text == "01") return push(make_.add(Kind::kBool, text == "01" ? 1 : 0));
    push(make_.add_integer(parse_integer_line(text, false)));
  }
  void long_bytes(std::uint64_t size) {
    if (size > Pickle::kMaxNumber) throw PickleStop{fmt::format("a number has {} bytes", size)};
    push(make_.add_integer(parse_integer_bytes(take(size))));
  }

  // --- objects ---

  void object_from(std::vector<PickleId> args, PickleId callee, CallKind kind) {
    push(make_.add_call(kind, callee, make_.add_tuple(args)));
  }
  void extension(std::int64_t code) {
    if (code <= 0) throw PickleStop{fmt::format("extension code {}", code)};
    push(make_.add_global("copyreg", make_.keep_name(fmt::format("extension({})", code))));
  }
  // What CPython's two readers disagree about (cpython #154848), or no writer does.
  void odd(std::string_view what) {
    if (!p_.oddity_) p_.oddity_ = PickleFault{op_at_, std::string(what), false};
  }

  bool step() {
    op_at_ = make_.at = at_;
    const auto op = static_cast<unsigned char>(take(1)[0]);
    if (!p_.foreign_opcode_ && kWeightsOnlyOpcodes.find(static_cast<char>(op)) == std::string_view::npos)
      p_.foreign_opcode_ =
          op >= 0x21 && op < 0x7F ? fmt::format("'{}'", static_cast<char>(op)) : fmt::format("0x{:02x}", op);
    switch (op) {
      case 0x80:  // PROTO
        if (op_at_ != 0) odd("its protocol stands elsewhere than at its begin");
        p_.protocol_ = number<std::uint8_t>();
        if (p_.protocol_ > 5) throw PickleStop{fmt::format("pickle protocol {} is unknown", p_.protocol_)};
        return true;
      case '.':  // STOP
        p_.root_ = pop();
        p_.end_ = at_;
        return false;
      case 0x95: {  // FRAME
        const auto size = number<std::uint64_t>();
        if (size > data_.size() - at_) throw PickleStop{"a frame is longer than the pickle", true};
        if (op_at_ < frame_end_) odd("a frame begins inside another");
        frame_end_ = at_ + static_cast<std::size_t>(size);
        return true;
      }

      case 'N':
        push(make_.add(Kind::kNone));
        return true;
      case 0x88:
      case 0x89:
        push(make_.add(Kind::kBool, op == 0x88 ? 1 : 0));
        return true;
      case 'I':
        int_line();
        return true;
      case 'L':
        push(make_.add_integer(parse_integer_line(line(), true)));
        return true;
      case 'J':
        push(make_.add_int(number<std::int32_t>()));
        return true;
      case 'K':
        push(make_.add_int(number<std::uint8_t>()));
        return true;
      case 'M':
        push(make_.add_int(number<std::uint16_t>()));
        return true;
      case 0x8a:
        long_bytes(number<std::uint8_t>());
        return true;
      case 0x8b:
        long_bytes(length_i32());
        return true;
      case 'F':
        push(make_.add_number(Kind::kFloat, std::bit_cast<std::uint64_t>(parse_float_line(line()))));
        return true;
      case 'G': {
        const auto bits = number<std::uint64_t>();
        push(make_.add_number(Kind::kFloat, __builtin_bswap64(bits)));
        return true;
      }

      case 'X':
        push(make_.add_text(take(number<std::uint32_t>())));
        return true;
      case 0x8c:
        push(make_.add_text(take(number<std::uint8_t>())));
        return true;
      case 0x8d:
        push(make_.add_text(take(number<std::uint64_t>())));
        return true;
      case 'V':
        push(make_.add_owned(Kind::kText, parse_unicode_line(escaped_line())));
        return true;
      case 'S':
        push(make_.add_string(parse_string_line(escaped_line()), true));
        return true;
      case 'T':
        push(make_.add_string(take(length_i32()), false));
        return true;
      case 'U':
        push(make_.add_string(take(number<std::uint8_t>()), false));
        return true;
      case 'C':
        push(make_.add_view(Kind::kBytes, take(number<std::uint8_t>())));
        return true;
      case 'B':
        push(make_.add_view(Kind::kBytes, take(number<std::uint32_t>())));
        return true;
      case 0x8e:
      case 0x96:  // BYTEARRAY8
        push(make_.add_view(Kind::kBytes, take(number<std::uint64_t>())));
        return true;
      case 0x97:
        push(make_.add(Kind::kBuffer));
        return true;
      case 0x98:
        top();
        return true;

      case '(':
        if (marks_.size() >= Pickle::kMaxStack) throw PickleStop{"its marks grow beyond all bounds"};
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
        push(make_.add_tuple({}));
        return true;
      case 't':
        push(make_.add_tuple(pop_mark()));
        return true;
      case 0x85:
      case 0x86:
      case 0x87:
        push_tuple(op - 0x84U);
        return true;
      case ']':
        push(make_.add_container(Kind::kList));
        return true;
      case 'l':
        push(make_.add_container(Kind::kList, pop_mark()));
        return true;
      case 'a': {
        const PickleId item = pop();
        make_.append(top(), std::span(&item, 1), Kind::kList);
        return true;
      }
      case 'e': {
        const std::vector<PickleId> items = pop_mark();
        make_.append(top(), items, Kind::kList);
        return true;
      }
      case '}':
        push(make_.add_container(Kind::kDict));
        return true;
      case 'd': {
        const std::vector<PickleId> pairs = pop_mark();
        push(make_.add_container(Kind::kDict));
        make_.set_items(top(), pairs);
        return true;
      }
      case 's': {
        const PickleId value = pop();
        const std::array<PickleId, 2> pair = {pop(), value};
        make_.set_items(top(), pair);
        return true;
      }
      case 'u': {
        const std::vector<PickleId> pairs = pop_mark();
        make_.set_items(top(), pairs);
        return true;
      }
      case 0x8f:
        push(make_.add_container(Kind::kSet));
        return true;
      case 0x90: {
        const std::vector<PickleId> items = pop_mark();
        make_.append(top(), items, Kind::kSet);
        return true;
      }
      case 0x91:
        push(make_.add_container(Kind::kSet, pop_mark()));
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
        remember(remembered_);  // as CPython: the number of entries, whatever their indices
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
        push(make_.add_global(module, line()));
        return true;
      }
      case 0x93: {
        const std::string_view name = make_.name_operand(pop());
        push(make_.add_global(make_.name_operand(pop()), name));
        return true;
      }
      case 'i': {
        const std::string_view module = line();
        const PickleId callee = make_.add_global(module, line());
        object_from(pop_mark(), callee, CallKind::kInstance);
        return true;
      }
      case 'o': {
        std::vector<PickleId> args = pop_mark();
        if (args.empty()) throw PickleStop{"an object has no class"};
        const PickleId callee = args.front();
        args.erase(args.begin());
        object_from(std::move(args), callee, CallKind::kObject);
        return true;
      }
      case 'R':
      case 0x81: {
        const PickleId args = pop();
        push(make_.add_call(op == 'R' ? CallKind::kReduce : CallKind::kNew, pop(), args));
        return true;
      }
      case 0x92: {
        const PickleId kwargs = pop();
        const PickleId args = pop();
        push(make_.add_call(CallKind::kNewEx, pop(), args, kwargs));
        return true;
      }
      case 'b': {
        const PickleId state = pop();
        make_.build(top(), state);
        return true;
      }
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
        const PickleId id = make_.add_view(Kind::kText, line());
        push(make_.add_persistent(id));
        return true;
      }
      case 'Q':
        push(make_.add_persistent(pop()));
        return true;
      default:
        throw PickleStop{fmt::format("opcode 0x{:02x} is unknown", op)};
    }
  }

  Pickle& p_;
  PickleBuilder make_;
  std::string_view data_;
  std::size_t at_ = 0;
  std::size_t op_at_ = 0;
  std::size_t frame_end_ = 0;
  std::vector<PickleId> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack
  std::vector<PickleId> memo_;
  std::uint64_t remembered_ = 0;  // entries that were set
};

Pickle::Pickle(std::string_view data, std::size_t max_memory) : data_(data.substr(0, kMaxBytes)) {
  PickleMachine(*this, max_memory).run();
}

}  // namespace mu
