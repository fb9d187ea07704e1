// SPDX-License-Identifier: Apache-2.0
#include "weights/torch/values.h"

#include <span>
#include <string>

namespace mu {

PickleId attribute_in(const Pickle& pickle, PickleId state, std::string_view name) {
  // Objects of torch have some dozens. A mapping may be shared by any number of objects, and is searched for each.
  constexpr std::size_t kMostAttributes = 1000;
  if (state == kNoNode) return kNoNode;
  if (pickle.kind(state) == PickleKind::kTuple && pickle.items(state).size() == 2) {
    const std::span<const PickleId> parts = pickle.items(state);
    if (pickle.kind(parts[0]) == PickleKind::kTuple || pickle.kind(parts[1]) == PickleKind::kTuple)
      return kNoNode;
    const PickleId found = attribute_in(pickle, parts[1], name);
    return found != kNoNode ? found : attribute_in(pickle, parts[0], name);
  }
  if (pickle_mapping(pickle, state).size() > 2 * kMostAttributes) return kNoNode;
  return pickle_find(pickle, state, name);
}

PickleId pickle_attribute(const Pickle& pickle, PickleId object, std::string_view name) {
  if (object == kNoNode || pickle.kind(object) != PickleKind::kCall) return kNoNode;
  return attribute_in(pickle, pickle.call(object).state, name);
}

std::optional<std::vector<std::uint64_t>> pickle_shape(const Pickle& pickle, PickleId id) {
  constexpr std::size_t kMaxDims = 64;  // as many as torch's functions take (dim_bitset_size)
  if (id == kNoNode) return std::nullopt;
  if (pickle.kind(id) == PickleKind::kCall && pickle_name(pickle, id) == "torch.Size" &&
      pickle.items(pickle.call(id).args).size() == 1)
    id = pickle.items(pickle.call(id).args)[0];
  if (pickle.kind(id) != PickleKind::kTuple && pickle.kind(id) != PickleKind::kList) return std::nullopt;
  if (pickle.items(id).size() > kMaxDims) return std::nullopt;
  std::vector<std::uint64_t> shape;
  for (const PickleId item : pickle.items(id)) {
    const std::optional<std::uint64_t> number = pickle_number(pickle, item);
    if (!number) return std::nullopt;
    shape.push_back(*number);
  }
  return shape;
}

std::optional<std::uint64_t> pickle_number(const Pickle& pickle, PickleId id) {
  if (id == kNoNode || pickle.kind(id) != PickleKind::kInt || pickle.integer(id) < 0) return std::nullopt;
  return static_cast<std::uint64_t>(pickle.integer(id));
}

std::optional<TorchType> pickle_dtype(const Pickle& pickle, PickleId id) {
  const std::string name = pickle_name(pickle, id);
  constexpr std::string_view kPrefix = "torch.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  return find_torch_type(std::string_view(name).substr(kPrefix.size()));
}

bool is_distributed_class(const Pickle& pickle, PickleId id, std::string_view name) {
  if (id == kNoNode) return false;
  if (pickle.kind(id) == PickleKind::kCall) id = pickle.call(id).callee;
  if (pickle.kind(id) != PickleKind::kGlobal) return false;
  const PickleGlobal& global = pickle.global(id);
  return global.name == name && global.module.starts_with("torch.distributed.");
}

}  // namespace mu
