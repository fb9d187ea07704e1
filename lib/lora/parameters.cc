// SPDX-License-Identifier: Apache-2.0
#include "lora/parameters.h"

#include "base/in_file.h"
#include "model/older_names.h"
#include "model/renaming.h"

namespace mu {
namespace {

// The names of one side: whether they are told apart, and the rules if they are those of files.
struct Side {
  std::shared_ptr<const TensorNames> names;  // null: nothing is renamed
  const ModelConfig* config = nullptr;
  bool is_known = false, is_memory = false;
};

Side side_of(const Input& input, const Input& other) {
  const std::optional<ModelConfig>& config = input.config ? input.config : other.config;
  if (!config) return {};
  std::shared_ptr<const TensorNames> names = TensorNames::of(*config);
  if (names == nullptr) return {};
  const TensorNames::Counts counts = names->side_of(input.weights.tensors);
  const bool is_known = names->name_class().is_automatic && (counts.is_memory() || counts.is_published());
  return is_known ? Side{names, &*config, true, counts.is_memory()} : Side{};
}

std::vector<Parameter> as_they_are(const std::vector<Tensor>& tensors) {
  std::vector<Parameter> list;
  for (const Tensor& tensor : tensors) list.push_back({tensor.name, tensor.name, tensor, {&tensor}});
  return list;
}

std::vector<Parameter> in_memory(const Input& input, const Side& side) {
  const std::vector<Tensor>& tensors = input.weights.tensors;
  std::vector<Parameter> list;
  in_file(input.name, [&] {
    for (Renaming::Item& item : to_memory(tensors, *side.names, *side.config).items) {
      Parameter one{item.tensor.name, item.tensor.name, std::move(item.tensor), {}, item.is_opaque};
      for (const std::size_t i : item.from) one.made_of.push_back(&tensors[i]);
      const bool is_whole = one.made_of.size() == 1 && one.values.shape == one.made_of.front()->shape;
      if (is_whole) one.file_name = one.made_of.front()->name;
      list.push_back(std::move(one));
    }
  });
  return list;
}

// Counts what was renamed, and gives what still has an older name today's.
SeenNames count_names(std::vector<Parameter>& parameters) {
  SeenNames seen;
  for (Parameter& parameter : parameters) {
    std::string today = without_older_name(parameter.name);
    if (parameter.name != parameter.made_of.front()->name)
      ++seen.published;
    else if (parameter.name != today)
      ++seen.older;
    parameter.name = std::move(today);
  }
  return seen;
}

}  // namespace

ParametersOfPair parameters_of(const Input& base, const Input& tuned) {
  const Side old_side = side_of(base, tuned), new_side = side_of(tuned, base);
  const bool known = old_side.is_known && new_side.is_known;
  const auto parameters = [&](const Input& input, const Side& side) {
    return known && !side.is_memory ? in_memory(input, side) : as_they_are(input.weights.tensors);
  };
  ParametersOfPair pair;
  pair.base = parameters(base, old_side);
  pair.tuned = parameters(tuned, new_side);
  if (known) pair.names = new_side.names;
  pair.seen = {count_names(pair.base), count_names(pair.tuned)};
  return pair;
}

}  // namespace mu
