// SPDX-License-Identifier: Apache-2.0
// Which tensors of a torch file are its weights, and what they are called.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "weights/torch/distributed.h"
#include "weights/torch/state_dict.h"
#include "weights/torch/tensors.h"

namespace mu {
namespace {

constexpr std::size_t kMaxTensors = 300'000;         // of one file; about what the memory of a pickle holds
constexpr std::size_t kMaxNameBytes = 65'535;        // of one tensor, as GGUF has it
constexpr std::size_t kMaxNamesBytes = 64U << 20;    // of all
constexpr std::size_t kMaxSteps = 20'000'000;        // of the search for tensors, since a tree may be endless
constexpr std::size_t kMaxBroken = Findings::kKept;  // broken tensors; the rest is then not read
constexpr std::size_t kMaxLeftOut = 100;             // entries that are named
constexpr std::size_t kShownColumns = 100;           // of a name in a message

std::string shown(std::string_view name) {
  return escape_name(shorten(name.substr(0, 4 * kShownColumns), kShownColumns));
}

// Tensors by name. Many tensors may have the same long name in the pickle, so the copies of names have a
// ceiling of their own.
class NodeList {
 public:
  void add(std::string_view name, PickleId id) {
    if (name.size() > kMaxNameBytes)
      throw malformed(fmt::format("the name of a tensor has {} bytes", group_digits(name.size())));
    if (nodes_.size() == kMaxTensors)
      throw malformed(fmt::format("it holds more than {} tensors", group_digits(kMaxTensors)));
    bytes_ += name.size();
    if (bytes_ > kMaxNamesBytes) throw malformed("the names of its tensors are too long together");
    nodes_.push_back({std::string(name), id});
  }
  std::vector<NamedNode> take() { return std::move(nodes_); }

 private:
  std::vector<NamedNode> nodes_;
  std::size_t bytes_ = 0;
};

// All tensors of a tree by their paths, each path once. Trees may be cyclic and repeat values without limit:
// no node is entered twice on a path, and the steps are counted.
class TreeWalk {
 public:
  explicit TreeWalk(const Pickle& pickle) : p_(pickle), on_path_(pickle.node_count(), 0) {}

  std::vector<NamedNode> tensors() {
    walk(p_.root(), 0);
    return found_.take();
  }

 private:
  void walk(PickleId id, std::size_t depth) {
    if (++steps_ > kMaxSteps)
      throw malformed("its values are repeated so often that the search for tensors has no end");
    const PickleKind kind = p_.kind(id);
    if (kind < PickleKind::kTuple || depth > Pickle::kMaxDepth || on_path_[id] != 0) return;
    if (is_tensor_node(p_, id)) return found_.add(path_, id);
    on_path_[id] = 1;
    if (kind == PickleKind::kCall) {
      const PickleCall& call = p_.call(id);
      if (call.state != kNoNode) walk(call.state, depth + 1);
      if (call.list != kNoNode) walk(call.list, depth + 1);
    }
    const std::span<const PickleId> pairs = pickle_mapping(p_, id);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      if (p_.kind(pairs[i]) == PickleKind::kText) {
        below(p_.text(pairs[i]), pairs[i + 1], depth);
      } else {
        below(pickle_key_text(p_, pairs[i]), pairs[i + 1], depth);
      }
    }
    if (kind == PickleKind::kList || kind == PickleKind::kTuple) {
      const std::span<const PickleId> items = p_.items(id);
      for (std::size_t i = 0; i < items.size(); ++i) below(std::to_string(i), items[i], depth);
    }
    on_path_[id] = 0;
  }
  void below(std::string_view part, PickleId id, std::size_t depth) {
    ++steps_;
    if (p_.kind(id) < PickleKind::kTuple) return;
    const std::size_t size = path_.size();
    // A path too long for a name is cut here; a tensor of that path is refused later.
    if (size <= kMaxNameBytes) {
      if (size > 0) path_ += '.';
      path_ += part.substr(0, kMaxNameBytes + 1);
    }
    walk(id, depth + 1);
    path_.resize(size);
  }

  const Pickle& p_;
  std::vector<std::uint8_t> on_path_;
  std::string path_;
  NodeList found_;
  std::size_t steps_ = 0;
};

// The entries of the state dict, or all tensors of the tree; fills what `object` says of the former.
std::vector<NamedNode> find_nodes(const Pickle& pickle, TorchObject& object, std::string_view key) {
  StateDictChoice choice = choose_state_dict(pickle, key);
  object.is_state_dict = choice.id != kNoNode;
  object.state_dict_key = object.is_state_dict ? std::move(choice.key) : std::string(key);
  object.other_state_dicts = std::move(choice.others);
  if (!object.is_state_dict) return TreeWalk(pickle).tensors();
  NodeList nodes;
  const std::span<const PickleId> pairs = pickle_mapping(pickle, choice.id);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    if (is_tensor_node(pickle, pairs[i + 1])) {
      nodes.add(pickle.text(pairs[i]), pairs[i + 1]);
    } else if (object.left_out_count++ < kMaxLeftOut) {
      object.left_out.push_back(fmt::format("{} ({})", shown(pickle.text(pairs[i])),
                                            escape_name(pickle_kind_text(pickle, pairs[i + 1]))));
    }
  }
  return nodes.take();
}

}  // namespace

std::vector<NamedNode> list_tensor_nodes(TorchObject& object, Findings& findings, std::string_view file,
                                         std::string_view key) {
  std::vector<NamedNode> nodes = find_nodes(*object.pickle, object, key);
  // Of several equal keys, Python keeps the last value, at the place of the first.
  std::unordered_map<std::string_view, std::size_t> place;
  std::vector<bool> repeated(nodes.size(), false);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto [at, fresh] = place.try_emplace(nodes[i].name, i);
    if (fresh) continue;
    nodes[at->second].id = nodes[i].id;
    repeated[i] = true;
    findings.add({"PT-DUP", Level::kSpec, false,
                  "'" + shown(nodes[i].name) + "' appears twice; the last one counts", std::string(file)});
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (repeated[i]) continue;
    if (kept != i) nodes[kept] = std::move(nodes[i]);
    ++kept;
  }
  nodes.resize(kept);
  return nodes;
}

namespace {

// Says of the tensors that processes share what this one has. Where that makes no sense torch loads them all the same.
void add_pieces(TorchObject& object, TorchStorages& storages, const std::vector<NamedNode>& nodes,
                Findings& findings, std::string_view file) {
  const Pickle& pickle = *object.pickle;
  DistributedReader reader(pickle);
  std::size_t broken = 0;
  for (const NamedNode& node : nodes) {
    if (broken == kMaxBroken) return;
    if (!is_distributed_tensor(pickle, node.id)) continue;
    try {
      const DistributedTensor tensor = reader.read(node.id);
      RankPiece piece{tensor.type, tensor.placements, tensor.mesh};
      for (const DistributedTensor::Piece& part : tensor.pieces) {
        const Tensor local = read_torch_tensor(pickle, storages, 0, node.name, part.tensor);
        check_piece(local, tensor.type, part.region);
        piece.regions.push_back(part.region);
        piece.bytes += local.size;
      }
      object.pieces.insert_or_assign(node.name, std::move(piece));
    } catch (const Error& error) {
      ++broken;
      findings.add({"PT-PIECE", Level::kSpec, false,
                    fmt::format("tensor '{}': {}", shown(node.name), error.message()), std::string(file)});
    }
  }
}

}  // namespace

void add_torch_tensors(Weights& weights, TorchObject& object, TorchStorages& storages, std::uint32_t source,
                       std::string_view file, std::string_view key) {
  const Pickle& pickle = *object.pickle;
  const std::vector<NamedNode> nodes = list_tensor_nodes(object, weights.findings, file, key);
  // A node with several names is read once: its copies share what it says of its place.
  std::unordered_map<PickleId, std::size_t> read;
  std::size_t broken = 0;
  for (std::size_t i = 0; i < nodes.size() && broken < kMaxBroken; ++i) {
    const auto [known, fresh] = read.try_emplace(nodes[i].id, weights.tensors.size());
    if (!fresh) {
      Tensor tensor = weights.tensors[known->second];
      tensor.name = nodes[i].name;
      weights.tensors.push_back(std::move(tensor));
      continue;
    }
    try {
      weights.tensors.push_back(read_torch_tensor(pickle, storages, source, nodes[i].name, nodes[i].id));
    } catch (const Error& error) {
      read.erase(known);
      ++broken;
      weights.findings.add({"PT-TENSOR", Level::kLoads, false,
                            fmt::format("tensor '{}': {}", shown(nodes[i].name), error.message()),
                            std::string(file)});
    }
  }
  add_pieces(object, storages, nodes, weights.findings, file);
  for (const auto& [name, storage] : storages.by_key)
    object.unreferenced_bytes += storage.bytes - std::min(storage.bytes, storage.used);
}

}  // namespace mu
