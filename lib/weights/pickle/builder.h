// SPDX-License-Identifier: Apache-2.0
// Adds nodes to a Pickle under its ceilings. Private to machine.cc.
#pragma once

#include <fmt/format.h>

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/text.h"
#include "weights/pickle/literals.h"
#include "weights/pickle/pickle.h"

namespace mu {

// All members throw PickleStop when what they add is malformed or too much.
class PickleBuilder {
 public:
  using Kind = PickleKind;

  PickleBuilder(Pickle& pickle, std::size_t max_memory)
      : p_(pickle), max_memory_(std::min(max_memory, Pickle::kMaxTogether - pickle.data_.size())) {}

  std::size_t at = 0;  // byte of the opcode that nodes come from

  // Takes the size of so many references to nodes out of the memory that is left.
  void charge(std::size_t references) {
    references_ += references;
    const std::size_t used =
        p_.nodes_.size() * sizeof(Pickle::Node) + references_ * sizeof(PickleId) + 2 * p_.extra_.size();
    if (used > max_memory_)
      throw PickleStop{
          fmt::format("it has more than {} values, more than are read", group_digits(p_.nodes_.size()))};
  }

  // --- plain values ---

  PickleId add(Kind kind, std::uint32_t a = 0, std::uint32_t b = 0, bool owned = false) {
    charge(0);
    p_.nodes_.push_back({kind, owned, static_cast<std::uint32_t>(at), a, b});
    return static_cast<PickleId>(p_.nodes_.size() - 1);
  }
  PickleId add_number(Kind kind, std::uint64_t bits) {
    return add(kind, static_cast<std::uint32_t>(bits), static_cast<std::uint32_t>(bits >> 32));
  }
  PickleId add_int(std::int64_t value) { return add_number(Kind::kInt, static_cast<std::uint64_t>(value)); }
  PickleId add_integer(const std::variant<std::int64_t, std::string_view>& value) {
    if (const auto* small = std::get_if<std::int64_t>(&value)) return add_int(*small);
    return add_view(Kind::kBigInt, std::get<std::string_view>(value));
  }
  PickleId add_integer(const std::variant<std::int64_t, std::string>& value) {
    if (const auto* small = std::get_if<std::int64_t>(&value)) return add_int(*small);
    return add_owned(Kind::kBigInt, std::get<std::string>(value));
  }
  // A text that is part of the data.
  PickleId add_view(Kind kind, std::string_view text) {
    return add(kind, static_cast<std::uint32_t>(text.data() - p_.data_.data()),
               static_cast<std::uint32_t>(text.size()));
  }
  PickleId add_owned(Kind kind, std::string_view text) {
    const std::size_t begin = p_.extra_.size();
    p_.extra_ += text;
    return add(kind, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(text.size()), true);
  }
  PickleId add_text(std::string_view text) {
    if (!is_python_utf8(text)) throw PickleStop{"a text is not UTF-8"};
    return add_view(Kind::kText, text);
  }
  // What Python 2 called a str: text when it is UTF-8.
  PickleId add_string(std::string_view text, bool owned) {
    const Kind kind = is_python_utf8(text) ? Kind::kText : Kind::kBytes;
    return owned ? add_owned(kind, text) : add_view(kind, text);
  }

  // --- containers ---

  PickleId add_tuple(std::span<const PickleId> items) { return add_items(Kind::kTuple, items); }
  PickleId add_persistent(PickleId value) { return add_items(Kind::kPersistent, std::span(&value, 1)); }
  PickleId add_container(Kind kind, std::vector<PickleId> items = {}) {
    charge(items.size() + 16);  // a vector of its own has a price
    p_.containers_.push_back(std::move(items));
    return add(kind, static_cast<std::uint32_t>(p_.containers_.size() - 1));
  }
  // To a list or set, or to an object that collects items.
  void append(PickleId id, std::span<const PickleId> items, Kind kind) {
    std::vector<PickleId>* const into = target(id, kind);
    if (into == nullptr) throw PickleStop{"it appends to something that is not a list, set or object"};
    charge(items.size());
    into->insert(into->end(), items.begin(), items.end());
  }
  // Keys and values in turn, to a dict or an object.
  void set_items(PickleId id, std::span<const PickleId> pairs) {
    if (pairs.size() % 2 != 0) throw PickleStop{"a dict gets a key without a value"};
    std::vector<PickleId>* const into = target(id, Kind::kDict);
    if (into == nullptr) throw PickleStop{"it sets an item of something that is not a dict or object"};
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const Kind key = p_.kind(pairs[i]);
      if (key == Kind::kList || key == Kind::kDict || key == Kind::kSet)
        throw PickleStop{"a list, dict or set is the key of a dict"};
    }
    charge(pairs.size());
    into->insert(into->end(), pairs.begin(), pairs.end());
  }

  // --- classes, functions and calls ---

  PickleId add_global(std::string_view module, std::string_view name) {
    if (module.size() > Pickle::kMaxName || name.size() > Pickle::kMaxName)
      throw PickleStop{fmt::format("it names a class or function with {} characters",
                                   group_digits(module.size() + name.size()))};
    if (p_.globals_.size() == Pickle::kMaxGlobals)
      throw PickleStop{
          fmt::format("it names more than {} classes and functions", group_digits(Pickle::kMaxGlobals))};
    p_.globals_.push_back({module, name, at});
    charge(10);
    return add(Kind::kGlobal, static_cast<std::uint32_t>(p_.globals_.size() - 1));
  }
  // A name that is not part of the data, kept for add_global.
  std::string_view keep_name(std::string_view name) {
    charge(8 + name.size() / sizeof(PickleId));
    return p_.names_.emplace_back(name);
  }
  // An operand of STACK_GLOBAL.
  std::string_view name_operand(PickleId id) {
    if (p_.kind(id) != Kind::kText) throw PickleStop{"the name of a class or function is not text"};
    const std::string_view name = p_.text(id);
    const bool stays = !p_.nodes_[id].owned || name.size() > Pickle::kMaxName;
    return stays ? name : keep_name(name);  // decoded texts may move
  }
  PickleId add_call(CallKind kind, PickleId callee, PickleId args, PickleId kwargs = kNoNode) {
    charge(sizeof(PickleCall) / sizeof(PickleId));
    p_.calls_.push_back({kind, callee, args, kwargs});
    return add(Kind::kCall, static_cast<std::uint32_t>(p_.calls_.size() - 1));
  }
  void build(PickleId target, PickleId state) {
    if (p_.kind(target) == Kind::kCall) {
      PickleCall& call = p_.calls_[p_.nodes_[target].a];
      if (call.state == kNoNode) {
        call.state = state;
        return;
      }
    }
    charge(sizeof(Pickle::Build) / sizeof(PickleId));
    p_.builds_.push_back({target, state, at});
  }

 private:
  PickleId add_items(Kind kind, std::span<const PickleId> items) {
    charge(items.size());
    const auto begin = static_cast<std::uint32_t>(p_.items_.size());
    p_.items_.insert(p_.items_.end(), items.begin(), items.end());
    return add(kind, begin, static_cast<std::uint32_t>(items.size()));
  }
  // The container that items go to: the node's own, or what collects them for an object.
  std::vector<PickleId>* target(PickleId id, Kind kind) {
    if (p_.kind(id) == kind) return &p_.containers_[p_.nodes_[id].a];
    if (p_.kind(id) != Kind::kCall) return nullptr;
    PickleCall& call = p_.calls_[p_.nodes_[id].a];
    PickleId& collected = kind == Kind::kDict ? call.dict : call.list;
    if (collected == kNoNode) collected = add_container(kind == Kind::kDict ? kind : Kind::kList);
    return &p_.containers_[p_.nodes_[collected].a];
  }

  Pickle& p_;
  std::size_t max_memory_;
  std::size_t references_ = 0;  // of nodes to nodes, in units of a PickleId
};

}  // namespace mu
