// SPDX-License-Identifier: Apache-2.0
// The machine that pickle opcodes are written for. A pickle is a program: opcodes push values on a stack, put a
// mark where a list of arguments begins, keep values in a memo to use them again, and STOP leaves the result.
// Python's machine builds objects on the way; this one adds a node to the arena (builder.h) wherever Python
// would make a value, import a name or call something, so that running it has no effect beyond the nodes.
//
// One flat switch carries out one opcode a step (opcodes.h names them). What does not fit, such as a value
// taken from an empty stack, throws PickleStop; run() turns that into the fault of the Pickle, and the nodes
// made so far stay for reports.
//
// A hostile pickle may be as large as the reader allows, so everything that can grow has a ceiling: the stack
// and its marks (kMaxStack), nodes, references and decoded texts (the builder's memory), holes in the memo,
// numbers and lines. Nesting is measured once at the end, without recursion, because code that walks the
// tree recurses.
#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "base/bytes.h"
#include "weights/pickle/builder.h"
#include "weights/pickle/depth.h"
#include "weights/pickle/opcodes.h"

namespace mu {
namespace {

// Opcodes that torch/_weights_only_unpickler.py (torch 2.13) executes; any other makes it refuse the file.
constexpr std::array<bool, 256> kIsWeightsOnly = [] {
  std::array<bool, 256> known{};
  for (const Op op : {Op::PROTO,       Op::STOP,      Op::MARK,        Op::GLOBAL,
                      Op::NEWOBJ,      Op::REDUCE,    Op::BUILD,       Op::APPEND,
                      Op::APPENDS,     Op::SETITEM,   Op::SETITEMS,    Op::TUPLE,
                      Op::TUPLE1,      Op::TUPLE2,    Op::TUPLE3,      Op::NONE,
                      Op::NEWFALSE,    Op::NEWTRUE,   Op::EMPTY_TUPLE, Op::EMPTY_LIST,
                      Op::EMPTY_DICT,  Op::EMPTY_SET, Op::BININT,      Op::BININT1,
                      Op::BININT2,     Op::BINFLOAT,  Op::BINUNICODE,  Op::SHORT_BINSTRING,
                      Op::BINPERSID,   Op::BINGET,    Op::LONG_BINGET, Op::BINPUT,
                      Op::LONG_BINPUT, Op::LONG1})
    known[static_cast<unsigned char>(op)] = true;
  return known;
}();

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
  // A line that is decoded into memory of its own.
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
  // Takes everything above the last mark, and the mark.
  std::vector<PickleId> pop_mark() {
    if (marks_.empty()) throw PickleStop{"it goes back to a mark that was never set"};
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
    // Writers number memo entries without gaps; a table with large holes would be an attack on our memory.
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
      throw PickleStop{"a memo index is not a number"};
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
  // Something that CPython's two readers disagree about (cpython #154848), or that no writer does.
  void odd(std::string_view what) {
    if (!p_.oddity_) p_.oddity_ = PickleFault{op_at_, std::string(what), false};
  }

  bool step() {
    op_at_ = make_.at = at_;
    const auto byte = static_cast<unsigned char>(take(1)[0]);
    if (!p_.foreign_opcode_ && !kIsWeightsOnly[byte])
      p_.foreign_opcode_ = byte >= 0x21 && byte < 0x7F ? fmt::format("'{}'", static_cast<char>(byte))
                                                       : fmt::format("0x{:02x}", byte);
    const auto op = static_cast<Op>(byte);
    switch (op) {
      case Op::PROTO:
        if (op_at_ != 0) odd("its protocol is not given at its beginning");
        p_.protocol_ = number<std::uint8_t>();
        if (p_.protocol_ > 5) throw PickleStop{fmt::format("pickle protocol {} is unknown", p_.protocol_)};
        return true;
      case Op::STOP:
        p_.root_ = pop();
        p_.end_ = at_;
        return false;
      case Op::FRAME: {
        const auto size = number<std::uint64_t>();
        if (size > data_.size() - at_) throw PickleStop{"a frame is longer than the pickle", true};
        if (op_at_ < frame_end_) odd("a frame begins inside another");
        frame_end_ = at_ + static_cast<std::size_t>(size);
        return true;
      }

      case Op::NONE:
        push(make_.add(Kind::kNone));
        return true;
      case Op::NEWTRUE:
      case Op::NEWFALSE:
        push(make_.add(Kind::kBool, op == Op::NEWTRUE ? 1 : 0));
        return true;
      case Op::INT:
        int_line();
        return true;
      case Op::LONG:
        push(make_.add_integer(parse_integer_line(line(), true)));
        return true;
      case Op::BININT:
        push(make_.add_int(number<std::int32_t>()));
        return true;
      case Op::BININT1:
        push(make_.add_int(number<std::uint8_t>()));
        return true;
      case Op::BININT2:
        push(make_.add_int(number<std::uint16_t>()));
        return true;
      case Op::LONG1:
        long_bytes(number<std::uint8_t>());
        return true;
      case Op::LONG4:
        long_bytes(length_i32());
        return true;
      case Op::FLOAT:
        push(make_.add_number(Kind::kFloat, std::bit_cast<std::uint64_t>(parse_float_line(line()))));
        return true;
      case Op::BINFLOAT: {
        const auto bits = number<std::uint64_t>();
        push(make_.add_number(Kind::kFloat, __builtin_bswap64(bits)));
        return true;
      }

      case Op::BINUNICODE:
        push(make_.add_text(take(number<std::uint32_t>())));
        return true;
      case Op::SHORT_BINUNICODE:
        push(make_.add_text(take(number<std::uint8_t>())));
        return true;
      case Op::BINUNICODE8:
        push(make_.add_text(take(number<std::uint64_t>())));
        return true;
      case Op::UNICODE:
        push(make_.add_owned(Kind::kText, parse_unicode_line(escaped_line())));
        return true;
      case Op::STRING:
        push(make_.add_string(parse_string_line(escaped_line()), true));
        return true;
      case Op::BINSTRING:
        push(make_.add_string(take(length_i32()), false));
        return true;
      case Op::SHORT_BINSTRING:
        push(make_.add_string(take(number<std::uint8_t>()), false));
        return true;
      case Op::SHORT_BINBYTES:
        push(make_.add_view(Kind::kBytes, take(number<std::uint8_t>())));
        return true;
      case Op::BINBYTES:
        push(make_.add_view(Kind::kBytes, take(number<std::uint32_t>())));
        return true;
      case Op::BINBYTES8:
      case Op::BYTEARRAY8:
        push(make_.add_view(Kind::kBytes, take(number<std::uint64_t>())));
        return true;
      case Op::NEXT_BUFFER:
        push(make_.add(Kind::kBuffer));
        return true;
      case Op::READONLY_BUFFER:
        top();
        return true;

      case Op::MARK:
        if (marks_.size() >= Pickle::kMaxStack) throw PickleStop{"its marks grow beyond all bounds"};
        marks_.push_back(stack_.size());
        return true;
      case Op::POP:
        if (!marks_.empty() && marks_.back() == stack_.size()) {
          marks_.pop_back();
        } else {
          pop();
        }
        return true;
      case Op::POP_MARK:
        pop_mark();
        return true;
      case Op::DUP:
        push(top());
        return true;

      case Op::EMPTY_TUPLE:
        push(make_.add_tuple({}));
        return true;
      case Op::TUPLE:
        push(make_.add_tuple(pop_mark()));
        return true;
      case Op::TUPLE1:
        push_tuple(1);
        return true;
      case Op::TUPLE2:
        push_tuple(2);
        return true;
      case Op::TUPLE3:
        push_tuple(3);
        return true;
      case Op::EMPTY_LIST:
        push(make_.add_container(Kind::kList));
        return true;
      case Op::LIST:
        push(make_.add_container(Kind::kList, pop_mark()));
        return true;
      case Op::APPEND: {
        const PickleId item = pop();
        make_.append(top(), std::span(&item, 1), Kind::kList);
        return true;
      }
      case Op::APPENDS: {
        const std::vector<PickleId> items = pop_mark();
        make_.append(top(), items, Kind::kList);
        return true;
      }
      case Op::EMPTY_DICT:
        push(make_.add_container(Kind::kDict));
        return true;
      case Op::DICT: {
        const std::vector<PickleId> pairs = pop_mark();
        push(make_.add_container(Kind::kDict));
        make_.set_items(top(), pairs);
        return true;
      }
      case Op::SETITEM: {
        const PickleId value = pop();
        const std::array<PickleId, 2> pair = {pop(), value};
        make_.set_items(top(), pair);
        return true;
      }
      case Op::SETITEMS: {
        const std::vector<PickleId> pairs = pop_mark();
        make_.set_items(top(), pairs);
        return true;
      }
      case Op::EMPTY_SET:
        push(make_.add_container(Kind::kSet));
        return true;
      case Op::ADDITEMS: {
        const std::vector<PickleId> items = pop_mark();
        make_.append(top(), items, Kind::kSet);
        return true;
      }
      case Op::FROZENSET:
        push(make_.add_container(Kind::kSet, pop_mark()));
        return true;

      case Op::PUT:
        remember(index_line());
        return true;
      case Op::BINPUT:
        remember(number<std::uint8_t>());
        return true;
      case Op::LONG_BINPUT:
        remember(number<std::uint32_t>());
        return true;
      case Op::MEMOIZE:
        remember(remembered_);  // as CPython: the number of entries, whatever their indices
        return true;
      case Op::GET:
        recall(index_line());
        return true;
      case Op::BINGET:
        recall(number<std::uint8_t>());
        return true;
      case Op::LONG_BINGET:
        recall(number<std::uint32_t>());
        return true;

      case Op::GLOBAL: {
        const std::string_view module = line();
        push(make_.add_global(module, line()));
        return true;
      }
      case Op::STACK_GLOBAL: {
        const std::string_view name = make_.name_operand(pop());
        push(make_.add_global(make_.name_operand(pop()), name));
        return true;
      }
      case Op::INST: {
        const std::string_view module = line();
        const PickleId callee = make_.add_global(module, line());
        object_from(pop_mark(), callee, CallKind::kInstance);
        return true;
      }
      case Op::OBJ: {
        std::vector<PickleId> args = pop_mark();
        if (args.empty()) throw PickleStop{"an object has no class"};
        const PickleId callee = args.front();
        args.erase(args.begin());
        object_from(std::move(args), callee, CallKind::kObject);
        return true;
      }
      case Op::REDUCE:
      case Op::NEWOBJ: {
        const PickleId args = pop();
        push(make_.add_call(op == Op::REDUCE ? CallKind::kReduce : CallKind::kNew, pop(), args));
        return true;
      }
      case Op::NEWOBJ_EX: {
        const PickleId kwargs = pop();
        const PickleId args = pop();
        push(make_.add_call(CallKind::kNewEx, pop(), args, kwargs));
        return true;
      }
      case Op::BUILD: {
        const PickleId state = pop();
        make_.build(top(), state);
        return true;
      }
      case Op::EXT1:
        extension(number<std::uint8_t>());
        return true;
      case Op::EXT2:
        extension(number<std::uint16_t>());
        return true;
      case Op::EXT4:
        extension(number<std::int32_t>());
        return true;

      case Op::PERSID: {
        const PickleId id = make_.add_view(Kind::kText, line());
        push(make_.add_persistent(id));
        return true;
      }
      case Op::BINPERSID:
        push(make_.add_persistent(pop()));
        return true;
      default:
        throw PickleStop{fmt::format("opcode 0x{:02x} is unknown", byte)};
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
