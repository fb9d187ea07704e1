// SPDX-License-Identifier: Apache-2.0
// Reads what machine.cc built.
#include "weights/pickle/pickle.h"

#include <bit>

#include "base/text.h"

namespace mu {

std::string_view pickle_type_name(PickleKind kind) {
  switch (kind) {
    case PickleKind::kNone:
      return "None";
    case PickleKind::kBool:
      return "bool";
    case PickleKind::kInt:
    case PickleKind::kBigInt:
      return "int";
    case PickleKind::kFloat:
      return "float";
    case PickleKind::kText:
      return "str";
    case PickleKind::kBytes:
      return "bytes";
    case PickleKind::kTuple:
      return "tuple";
    case PickleKind::kList:
      return "list";
    case PickleKind::kDict:
      return "dict";
    case PickleKind::kSet:
      return "set";
    case PickleKind::kGlobal:
      return "class";
    case PickleKind::kPersistent:
      return "storage";
    case PickleKind::kBuffer:
      return "buffer";
    case PickleKind::kCall:
      break;
  }
  return "";
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

std::string pickle_kind_text(const Pickle& pickle, PickleId id) {
  const std::string name = pickle_name(pickle, id);
  if (!name.empty()) return name;
  const std::string_view type = pickle_type_name(pickle.kind(id));
  return std::string(type.empty() ? "object" : type);
}

std::string pickle_key_text(const Pickle& pickle, PickleId key) {
  constexpr std::size_t kMaxKeyBytes = 1024, kMaxKeyParts = 8;
  const auto cut = [](std::string_view text) {
    return text.size() <= kMaxKeyBytes ? std::string(text) : std::string(text.substr(0, kMaxKeyBytes)) + "…";
  };
  switch (pickle.kind(key)) {
    case PickleKind::kText:
    case PickleKind::kBytes:
      return cut(pickle.text(key));
    case PickleKind::kInt:
      return std::to_string(pickle.integer(key));
    case PickleKind::kBool:
      return pickle.truth(key) ? "True" : "False";
    case PickleKind::kTuple: {
      std::vector<std::string> parts;
      const std::span<const PickleId> items = pickle.items(key);
      for (const PickleId item : items.first(std::min(items.size(), kMaxKeyParts))) {
        const bool simple = pickle.kind(item) == PickleKind::kText || pickle.kind(item) == PickleKind::kInt;
        parts.push_back(simple ? pickle_key_text(pickle, item) : "…");
      }
      if (items.size() > kMaxKeyParts) parts.emplace_back("…");
      return "(" + join(parts, ", ") + ")";
    }
    default:
      return pickle_kind_text(pickle, key);
  }
}

}  // namespace mu
