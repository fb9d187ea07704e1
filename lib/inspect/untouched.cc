// SPDX-License-Identifier: Apache-2.0
#include "inspect/untouched.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "base/text.h"
#include "model/module_path.h"
#include "model/name_table.h"

namespace mu {
namespace {

constexpr std::string_view kModel = "model.", kWeight = ".weight";

// The rules of the base's class, if its names are those of files: PEFT sees what is in memory.
std::shared_ptr<const TensorNames> rules_of_files(const Input& base) {
  std::shared_ptr<const TensorNames> table = base.config ? TensorNames::of(*base.config) : nullptr;
  return table && table->side_of(base.weights.tensors).is_published() ? table : nullptr;
}

// What the adapter's model calls a tensor of the base; nothing for one outside of it.
std::optional<std::string> name_in_adapter(const NamesInBase& names, const TensorNames* table,
                                           const std::string& name) {
  switch (names.way()) {
    case NamesInBase::Way::kAsIs:
      return table != nullptr ? table->memory(name) : name;
    case NamesInBase::Way::kPublished:
      return table->memory(name);
    case NamesInBase::Way::kMemory:
      return table->published(name);
    case NamesInBase::Way::kWithout:
      return names.prefix() + name;
    case NamesInBase::Way::kWith:
      return name.starts_with(names.prefix()) ? name.substr(names.prefix().size()) : name;
    case NamesInBase::Way::kText: {
      const std::string memory = table != nullptr ? table->memory(name) : name;
      if (!memory.starts_with(names.prefix())) return std::nullopt;
      return std::string(kModel) + memory.substr(names.prefix().size());
    }
  }
  return name;
}

class Search {
 public:
  Search(const LoraConfig& config, const Input& base) : config_(config) {
    if (base.config) model_type_ = base.config->model_type;
    for (const std::string& target : config.target_parameters) {
      // A layer's own weight is a module like others.
      if (!target.ends_with(kWeight)) parameters_.push_back(target);
    }
  }

  // The module or parameter of that tensor, if the config names it; else empty.
  [[nodiscard]] std::string covered_by(const std::string& name, const Tensor& tensor) const {
    for (const std::string& target : parameters_) {
      if (ends_in_path(name, target)) return name;
    }
    if (!name.ends_with(kWeight) || becomes_expert_parameter(model_type_, leaf_of(name))) return "";
    return layer(name, tensor);
  }

  // The same for what is a layer, as the matrix of a single expert once was.
  [[nodiscard]] std::string layer(const std::string& name, const Tensor& tensor) const {
    if (!name.ends_with(kWeight) || tensor.shape.size() < 2) return "";
    std::string module = name.substr(0, name.size() - kWeight.size());
    return config_.covers(module, is_embedding_layer(leaf_of(name))) ? module : "";
  }

 private:
  static std::string_view leaf_of(std::string_view name) {
    return last_component(name.substr(0, name.size() - kWeight.size()));
  }

  const LoraConfig& config_;
  std::string model_type_;
  std::vector<std::string> parameters_;
};

// Whether several tensors of files become one parameter, of which this is one.
bool is_part(const TensorNames* table, const Tensor& tensor) {
  return table != nullptr && table->load(tensor.name).conversion != nullptr;
}

// Whether the adapter has factors of single experts, as PEFT saved them when these were layers.
bool has_single_experts(const AdapterInBase& found, const TensorNames* table) {
  return std::any_of(found.modules.begin(), found.modules.end(), [&](const PlaceInBase& place) {
    return place.tensors.size() == 1 && place.parameter.ends_with(kWeight) &&
           is_part(table, *place.tensors.front());
  });
}

}  // namespace

Untouched find_untouched(const AdapterContent& adapter, const LoraConfig& config, const AdapterInBase& found,
                         const Input& base) {
  Untouched result;
  if (config.rank == 0 || (config.target_modules.empty() && config.target_parameters.empty())) return result;
  std::unordered_set<const Tensor*> touched;
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; i < found.modules.size(); ++i) {
    touched.insert(found.modules[i].tensors.begin(), found.modules[i].tensors.end());
    names.insert(found.modules[i].parameter);
    names.insert(adapter.modules[i].name);
  }
  const Search search(config, base);
  const std::shared_ptr<const TensorNames> table =
      found.names.way() == NamesInBase::Way::kAsIs ? rules_of_files(base) : found.names.table();
  const bool has_singles = has_single_experts(found, table.get());
  std::set<std::string> covered;
  try {
    for (const Tensor& tensor : base.weights.tensors) {
      const std::optional<std::string> name = name_in_adapter(found.names, table.get(), tensor.name);
      if (!name) continue;
      std::string module = has_singles && is_part(table.get(), tensor) ? search.layer(tensor.name, tensor)
                                                                       : search.covered_by(*name, tensor);
      if (module.empty() || !covered.insert(module).second) continue;
      ++result.covered;
      if (touched.contains(&tensor) || names.contains(module)) continue;
      if (result.missing++ == 0) result.first = std::move(module);
    }
  } catch (const Error&) {  // patterns that take too long
    return {};
  }
  return result;
}

}  // namespace mu
