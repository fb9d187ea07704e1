// SPDX-License-Identifier: Apache-2.0
// An inert reader of Python pickles, protocols 0 to 5 (Lib/pickletools.py): the opcodes are executed on a
// machine whose values are plain nodes. Nothing is looked up, imported or called: where Python would call
// something, a node says what and with which arguments.
//
// Nodes live in an arena and refer to one another by number, since pickles may be cyclic and refer to
// the same value any number of times. Code that walks them must bound depth and count.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

enum class PickleKind : std::uint8_t {
  kNone,
  kBool,
  kInt,     // fits 64 bits
  kBigInt,  // text: decimal, or "0x…" when it came in binary
  kFloat,
  kText,
  kBytes,
  kTuple,
  kList,
  kDict,
  kSet,
  kGlobal,      // a class or function, by name only
  kCall,        // what Python would call
  kPersistent,  // a persistent id: torch's reference to a storage
  kBuffer,      // data out of band; never in files
};

// Python's name for the type of such a value: "None", "bool", "str"; "class" of a global, empty of a call.
std::string_view pickle_type_name(PickleKind kind);

using PickleId = std::uint32_t;
inline constexpr PickleId kNoNode = 0xFFFFFFFF;

struct PickleGlobal {
  std::string_view module, name;  // as written
  std::uint64_t at;               // byte of its opcode
};

enum class CallKind : std::uint8_t { kReduce, kNew, kNewEx, kObject, kInstance };

struct PickleCall {
  CallKind kind;
  PickleId callee;
  PickleId args;              // usually a tuple
  PickleId kwargs = kNoNode;  // of kNewEx
  PickleId state = kNoNode;   // BUILD
  PickleId list = kNoNode;    // a kList of what was appended
  PickleId dict = kNoNode;    // a kDict of what was set
};

struct PickleFault {
  std::uint64_t at;  // byte of the opcode
  std::string message;
  bool truncated;  // the data ended too early
};

class Pickle {
 public:
  static constexpr std::uint64_t kMaxBytes = 128U << 20;  // of one pickle
  // Bytes of nodes, references and decoded texts. A quarter of a million tensors take half of it; vectors
  // grow by doubling, so just below a power of two keeps the peak at the power.
  static constexpr std::size_t kMaxMemory = 124U << 20;
  static constexpr std::size_t kMaxTogether = 220U << 20;   // bytes of these and the data
  static constexpr std::size_t kMaxSideMemory = 32U << 20;  // of a pickle read while another is in memory
  static constexpr std::size_t kMaxDepth = 500;             // of nesting; code that walks a pickle recurses
  static constexpr std::size_t kMaxStack = 1U << 20;        // values
  static constexpr std::size_t kMaxNumber = 1024;           // bytes of a number
  static constexpr std::size_t kMaxLine = 16U << 20;        // bytes of a text of protocol 0
  static constexpr std::size_t kMaxName = 256;              // bytes of a module's or class's name
  static constexpr std::size_t kMaxGlobals = 10'000;        // real runs name some dozens

  // Reads the first pickle in `data`, which must outlive it. Never throws: what stops the reader is in
  // fault(), and what was read up to there stays.
  explicit Pickle(std::string_view data, std::size_t max_memory = kMaxMemory);

  [[nodiscard]] const std::optional<PickleFault>& fault() const { return fault_; }
  // The first thing in it that readers of pickles disagree about, or nothing.
  [[nodiscard]] const std::optional<PickleFault>& oddity() const { return oddity_; }
  // Bytes up to and with STOP, when there is no fault.
  [[nodiscard]] std::size_t size() const { return end_; }
  [[nodiscard]] PickleId root() const { return root_; }  // kNoNode with a fault
  [[nodiscard]] unsigned protocol() const { return protocol_; }

  [[nodiscard]] PickleKind kind(PickleId id) const { return nodes_[id].kind; }
  [[nodiscard]] std::uint64_t offset(PickleId id) const { return nodes_[id].at; }
  [[nodiscard]] bool truth(PickleId id) const { return nodes_[id].a != 0; }
  [[nodiscard]] std::int64_t integer(PickleId id) const;
  [[nodiscard]] double real(PickleId id) const;
  [[nodiscard]] std::string_view text(PickleId id) const;  // of kText, kBytes, kBigInt
  // The items of a tuple, list or set; keys and values of a dict in turn; the one value of a persistent id.
  [[nodiscard]] std::span<const PickleId> items(PickleId id) const;
  [[nodiscard]] const PickleGlobal& global(PickleId id) const { return globals_[nodes_[id].a]; }
  [[nodiscard]] const PickleCall& call(PickleId id) const { return calls_[nodes_[id].a]; }

  // Everything that was named or would be called, in the order of the opcodes, used or not.
  [[nodiscard]] const std::vector<PickleGlobal>& globals() const { return globals_; }
  [[nodiscard]] const std::deque<PickleCall>& calls() const { return calls_; }
  // A state that BUILD would set on something other than a new object, and the target.
  struct Build {
    PickleId target, state;
    std::uint64_t at;
  };
  [[nodiscard]] const std::vector<Build>& builds() const { return builds_; }
  // The first opcode that torch's weights_only reader does not know, or nothing.
  [[nodiscard]] const std::optional<std::string>& foreign_opcode() const { return foreign_opcode_; }

  [[nodiscard]] std::size_t node_count() const { return nodes_.size(); }

 private:
  friend class PickleBuilder;
  friend class PickleMachine;

  struct Node {
    PickleKind kind;
    bool owned;          // of text: lies in extra_, not in the data
    std::uint32_t at;    // byte of its opcode
    std::uint32_t a, b;  // number, begin and size of a text or of items, index of a container, call or global
  };

  std::string_view data_;
  std::string extra_;  // decoded texts
  std::deque<Node> nodes_;
  std::vector<PickleId> items_;                   // of tuples
  std::deque<std::vector<PickleId>> containers_;  // of lists, dicts, sets
  std::deque<PickleCall> calls_;
  std::vector<PickleGlobal> globals_;
  std::deque<std::string> names_;  // of globals whose names are not part of the data
  std::vector<Build> builds_;
  std::optional<std::string> foreign_opcode_;
  std::optional<PickleFault> fault_, oddity_;
  std::size_t end_ = 0;
  PickleId root_ = kNoNode;
  unsigned protocol_ = 0;
};

// What `dict` (a kDict, or a call such as OrderedDict with items set on it) has under a text key, the last
// one where there are several; kNoNode when there is none.
PickleId pickle_find(const Pickle& pickle, PickleId dict, std::string_view key);

// Keys and values of such a mapping in turn; empty for anything else.
std::span<const PickleId> pickle_mapping(const Pickle& pickle, PickleId id);

// "module.name" of a global, or of the callee of a call; empty for anything else.
std::string pickle_name(const Pickle& pickle, PickleId id);

// What a node is: the class it was made by, else Python's name of its type, else "object".
std::string pickle_kind_text(const Pickle& pickle, PickleId id);

// What a key of a mapping is called: a text itself, numbers in digits, "(a, 1)". Long ones are cut.
std::string pickle_key_text(const Pickle& pickle, PickleId key);

}  // namespace mu
