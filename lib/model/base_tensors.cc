// SPDX-License-Identifier: Apache-2.0
#include "model/base_tensors.h"

#include "model/conversions.h"
#include "model/quantised.h"

namespace mu {
namespace {

// With the number of an expert where the name has "*".
std::string numbered(std::string name, std::size_t expert) {
  for (std::size_t at = name.find('*'); at != std::string::npos; at = name.find('*', at))
    name.replace(at, 1, std::to_string(expert));
  return name;
}

}  // namespace

BaseTensors::BaseTensors(const Input& base)
    : input_(base), tensors_(tensors_by_name(base.weights)), ties_(base.config, base.weights) {
  const std::vector<Tensor>& tensors = base.weights.tensors;
  const std::vector<QuantPart> parts = quant_parts(tensors);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (parts[i].role != QuantRole::kWeight) continue;
    const std::string& module = parts[i].module;
    packed_.try_emplace(module, &tensors[i]);              // a stack
    packed_.try_emplace(module + ".weight", &tensors[i]);  // a layer
    // One element of 8 bits for each of the weight: only the values need a scale.
    has_plain_shape_[&tensors[i]] = tensors[i].name == module + ".weight" &&
                                    (is_float8(tensors[i].dtype) || tensors[i].dtype == Dtype::kI8);
  }
}

const Tensor* BaseTensors::find(const std::string& name) const {
  if (const auto at = tensors_.find(name); at != tensors_.end()) return at->second;
  if (const auto at = packed_.find(name); at != packed_.end()) return at->second;
  const std::string kept = ties_.kept_name_of(name);
  const auto at = kept.empty() ? tensors_.end() : tensors_.find(kept);
  return at == tensors_.end() ? nullptr : at->second;
}

std::vector<std::uint64_t> BaseTensors::shape_of(const Tensor& tensor) const {
  const auto few_bits = has_plain_shape_.find(&tensor);
  return few_bits == has_plain_shape_.end() || few_bits->second ? tensor.shape : std::vector<std::uint64_t>{};
}

BaseTensors::Found BaseTensors::find(const NamesInBase& names, const std::string& parameter) const {
  Found found{.name = names(parameter), .tensors = {}, .shape = {}};
  if (const Tensor* const tensor = find(found.name)) {
    found.tensors.push_back(tensor);
    found.shape = shape_of(*tensor);
    if (names.way() != NamesInBase::Way::kMemory || found.shape.size() != 3) return found;
    // The module of one expert, which is a slice of a stack.
    const RenamedTensor renamed = names.table()->load(parameter);
    if (renamed.conversion == nullptr || !makes_one_stack(*renamed.conversion)) return found;
    const std::optional<std::uint64_t> expert = last_number_in(parameter);
    if (!expert || *expert >= found.shape[0])
      return {.name = std::move(found.name), .tensors = {}, .shape = {}};
    const std::uint64_t joined = renamed.conversion->match.size();
    found.shape = {found.shape[1] / joined, found.shape[2]};
  } else if (names.table() != nullptr && found.name.find('*') != std::string::npos) {
    find_parts(names, found);
  }
  return found;
}

void BaseTensors::find_parts(const NamesInBase& names, Found& found) const {
  while (const Tensor* const part = find(numbered(found.name, found.tensors.size())))
    found.tensors.push_back(part);
  if (found.tensors.empty()) return;
  const NameRule* const rule = names.table()->load(numbered(found.name, 0)).conversion;
  const std::vector<std::uint64_t> one = shape_of(*found.tensors.front());
  if (rule != nullptr && makes_one_stack(*rule) && one.size() == 2)
    found.shape = {found.tensors.size(), one[0] * rule->match.size(), one[1]};
}

std::vector<std::string_view> BaseTensors::names_that_end_in(std::string_view end) const {
  std::vector<std::string_view> names;
  for (const Tensor& tensor : input_.weights.tensors) {
    const std::string_view name = tensor.name;
    if (name.size() > end.size() && name.ends_with(end) && name[name.size() - end.size() - 1] == '.')
      names.push_back(name);
  }
  return names;
}

}  // namespace mu
