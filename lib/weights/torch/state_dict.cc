// SPDX-License-Identifier: Apache-2.0
// A state dict is a mapping of texts of which at least half lead to tensors. Trainers put it below a key, beside
// counters, settings and the optimizer. Names for the model are tried first, so that files with further state
// dicts (an average of the weights, a discriminator) need no option; any other key is searched for, at most
// kMaxDepth mappings deep. Values may be shared without limit, so that no mapping is entered twice.
#include "weights/torch/state_dict.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include "base/text.h"
#include "weights/torch/tensors.h"

namespace mu {
namespace {

constexpr int kMaxDepth = 4;
constexpr std::size_t kMaxFound = 100;  // state dicts of one file; the rest is not looked for

struct Found {
  PickleId id;
  std::string key;
};

bool is_mapping(const Pickle& p, PickleId id) {
  return p.kind(id) == PickleKind::kDict ||
         (p.kind(id) == PickleKind::kCall && pickle_name(p, id) == "collections.OrderedDict");
}

std::string below(const std::string& key, std::string_view part) {
  return key.empty() ? std::string(part) : fmt::format("{}.{}", key, part);
}

// How many tensors a mapping of texts holds; 0 for anything else.
std::size_t count_tensors(const Pickle& p, PickleId id) {
  if (!is_mapping(p, id)) return 0;
  const std::span<const PickleId> pairs = pickle_mapping(p, id);
  std::size_t tensors = 0;
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    if (p.kind(pairs[i]) != PickleKind::kText) return 0;
    tensors += is_tensor_node(p, pairs[i + 1]) ? 1 : 0;
  }
  return tensors;
}

// Names below which something else than a model lies.
bool is_training_state(std::string_view key) {
  const std::string lower = lower_ascii(key.substr(0, 100));
  constexpr std::array<std::string_view, 5> kParts = {"optim", "sched", "scaler", "rng", "random"};
  return std::any_of(kParts.begin(), kParts.end(),
                     [&lower](std::string_view part) { return lower.find(part) != std::string::npos; });
}

// A tensor without dimensions, such as a metric or a counter.
bool is_scalar(const Pickle& p, PickleId id) {
  for (int depth = 0; depth < 8; ++depth) {
    const std::span<const PickleId> args = p.items(p.call(id).args);
    if (args.empty()) return false;
    if (is_tensor_node(p, args[0])) {  // a parameter around a tensor
      id = args[0];
      continue;
    }
    if (args.size() < 3) return false;
    PickleId shape = args[2];
    if (p.kind(shape) == PickleKind::kCall && pickle_name(p, shape) == "torch.Size" &&
        p.items(p.call(shape).args).size() == 1)
      shape = p.items(p.call(shape).args)[0];
    return p.kind(shape) == PickleKind::kTuple && p.items(shape).empty();
  }
  return false;
}

// Finds the state dicts of one pickle.
class Finder {
 public:
  explicit Finder(const Pickle& pickle) : p_(pickle) {}

  // The state dict below one of the usual names.
  std::optional<Found> usual(PickleId at) {
    constexpr std::array<std::string_view, 6> kNames = {"state_dict", "model_state_dict", "model",
                                                        "module",     "params_ema",       "params"};
    std::string key;
    for (int depth = 0; depth < kMaxDepth; ++depth) {
      if (is_state_dict(at)) return Found{at, key};
      PickleId next = kNoNode;
      for (const std::string_view name : kNames) {
        next = pickle_find(p_, at, name);
        if (next != kNoNode && !pickle_mapping(p_, next).empty()) {
          key = below(key, name);
          break;
        }
        next = kNoNode;
      }
      if (next == kNoNode) return std::nullopt;
      at = next;
    }
    return std::nullopt;
  }

  // All that there are below a node.
  std::vector<Found> all(PickleId root) {
    seen_.assign(p_.node_count(), false);
    found_.clear();
    visit(root, "", 0);
    return std::move(found_);
  }

 private:
  void visit(PickleId id, const std::string& key, int depth) {
    if (found_.size() == kMaxFound || !is_mapping(p_, id) || seen_[id]) return;
    seen_[id] = true;
    if (pickle_find(p_, id, "param_groups") != kNoNode) return;  // an optimizer
    if (is_state_dict(id)) {
      if (weights_of(id) > 0) found_.push_back({id, key});
      return;
    }
    if (depth == kMaxDepth) return;
    const std::span<const PickleId> pairs = pickle_mapping(p_, id);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      if (p_.kind(pairs[i]) != PickleKind::kText || !is_mapping(p_, pairs[i + 1])) continue;
      const std::string_view name = p_.text(pairs[i]);
      if (name.size() <= Pickle::kMaxName && !is_training_state(name))
        visit(pairs[i + 1], below(key, name), depth + 1);
    }
  }

  // A mapping of texts, at least half to tensors. Where a counter is a tensor, too, it may be the mapping around the
  // state dict, which then holds more weights.
  bool is_state_dict(PickleId id) {
    const std::size_t tensors = count_tensors(p_, id);
    const std::span<const PickleId> pairs = pickle_mapping(p_, id);
    if (tensors == 0 || 2 * tensors < pairs.size() / 2) return false;
    const std::size_t own = weights_of(id);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const PickleId value = pairs[i + 1];
      if (!is_mapping(p_, value) || is_training_state(p_.text(pairs[i]))) continue;
      if (weights_of(value) > own || (own == 0 && !pickle_mapping(p_, value).empty())) return false;
    }
    return true;
  }

  // How many tensors with dimensions a mapping of texts holds that are not the state of a training.
  std::size_t weights_of(PickleId id) {
    const auto [known, fresh] = weights_.try_emplace(id, 0);
    if (!fresh || count_tensors(p_, id) == 0) return known->second;
    const std::span<const PickleId> pairs = pickle_mapping(p_, id);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const bool weight = is_tensor_node(p_, pairs[i + 1]) && !is_scalar(p_, pairs[i + 1]) &&
                          !is_training_state(p_.text(pairs[i]));
      known->second += weight ? 1 : 0;
    }
    return known->second;
  }

  const Pickle& p_;
  std::vector<bool> seen_;
  std::vector<Found> found_;
  std::unordered_map<PickleId, std::size_t> weights_;
};

// What a path of keys leads to; a key may have dots of its own.
PickleId descend(const Pickle& p, PickleId at, std::string_view path) {
  if (const PickleId found = pickle_find(p, at, path); found != kNoNode) return found;
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.', dot + 1)) {
    const PickleId next = pickle_find(p, at, path.substr(0, dot));
    if (next == kNoNode) continue;
    if (const PickleId found = descend(p, next, path.substr(dot + 1)); found != kNoNode) return found;
  }
  return kNoNode;
}

}  // namespace

StateDictChoice choose_state_dict(const Pickle& pickle, std::string_view wanted) {
  StateDictChoice choice;
  Finder finder(pickle);
  const PickleId from = wanted.empty() ? pickle.root() : descend(pickle, pickle.root(), wanted);
  const std::string prefix(wanted);
  if (from != kNoNode) {
    // Asked for by name, a mapping may hold more of other things.
    if (!wanted.empty() && count_tensors(pickle, from) > 0) return {from, prefix, {}};
    std::optional<Found> chosen = finder.usual(from);
    if (chosen && chosen->key.empty()) return {chosen->id, prefix, {}};
    const std::vector<Found> all = finder.all(from);
    if (!chosen && all.size() == 1) chosen = all.front();
    for (const Found& found : all) {
      if (!chosen || found.id != chosen->id) choice.others.push_back(below(prefix, found.key));
    }
    if (chosen) {
      choice.id = chosen->id;
      choice.key = below(prefix, chosen->key);
      return choice;
    }
  }
  if (!wanted.empty() && choice.others.empty()) {
    for (Found& found : finder.all(pickle.root())) choice.others.push_back(std::move(found.key));
  }
  return choice;
}

}  // namespace mu
