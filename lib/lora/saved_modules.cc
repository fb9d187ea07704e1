// SPDX-License-Identifier: Apache-2.0
// Nobody knows for sure which modules the trained model had: its class may be a part of the base's, such as an encoder.
// It certainly had those of which the adapter holds a tensor, and their likes in the other layers. If the adapter holds
// nothing for a name but the base has such a module, the adapter lacks it.
#include "lora/saved_modules.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "lora/classifier.h"
#include "lora/leftover.h"
#include "model/tensor_names.h"

namespace mu {
namespace {

std::string parent_of(const std::string& tensor) {
  const std::size_t dot = tensor.rfind('.');
  return tensor.substr(0, dot == std::string::npos ? 0 : dot);
}

// The path with "#" for numbers: the same for the likes of a module in all layers.
std::string without_numbers(std::string_view path) {
  std::string text;
  for (const std::string_view part : split(path, '.')) (text += is_digits(part) ? "#" : part) += '.';
  return text;
}

// Names of the base as modules_to_save has them: those of the model in memory.
class MemoryNames {
 public:
  explicit MemoryNames(MergeBase& base) {
    if (!base.input().config) return;
    table_ = TensorNames::of(*base.input().config);
    if (table_ && !table_->side_of(base.weights().tensors).is_published()) table_ = nullptr;
  }
  std::string operator()(const std::string& name) const { return table_ ? table_->memory(name) : name; }

 private:
  std::shared_ptr<const TensorNames> table_;  // null: the names are those of memory, or nobody knows
};

// What the adapter holds whole, as the base calls it.
std::vector<std::string> held_tensors(const Adapter& adapter, const NamesInBase& names) {
  std::vector<std::string> held;
  for (const std::vector<ReplacedTensor>* const list : {&adapter.replaced, &adapter.layers}) {
    for (const ReplacedTensor& replaced : *list) held.push_back(names(replaced.name));
  }
  for (const ReplacedRows& rows : adapter.rows) held.push_back(names(rows.module + ".weight"));
  return held;
}

// The tensors that the model of the base has when it is loaded, with those that are tied and not stored.
std::vector<std::string> loaded_tensors(MergeBase& base) {
  std::vector<std::string> loaded;
  for (const Tensor& tensor : base.weights().tensors) {
    const std::optional<Leftover> left = leftover_of(tensor.name, tensor.shape, base.input().config);
    if (left && *left != Leftover::kHead) continue;
    loaded.push_back(tensor.name);
    for (std::string& tied : base.tied_to(tensor.name)) {
      if (!base.contains(tied)) loaded.push_back(std::move(tied));
    }
  }
  return loaded;
}

// The module that `key` names, around a tensor.
struct Named {
  std::string path;     // empty: there is none
  bool is_own = false;  // it is called exactly so ("input_layernorm" only ends in "norm")
  std::string parent;   // the module of the tensor itself
};

class Key {
 public:
  // `own` is the weight of the module that is called exactly like the key.
  Key(const std::string& key, std::string own) : key_(key), own_(std::move(own)) {}

  [[nodiscard]] Named module_of(const std::string& tensor) const {
    std::string parent = parent_of(tensor);
    std::string path(tensor == own_ ? parent : saved_module(parent, key_));
    const bool is_own = tensor == own_ || path == key_ || path.ends_with("." + key_);
    return {std::move(path), is_own, std::move(parent)};
  }

 private:
  std::string key_, own_;
};

struct Lacking {
  std::string sure;  // a tensor that the trained model had; empty: there is none
  std::vector<std::string> unsure;
  bool is_known = false;  // base or adapter have such a module
};

Lacking lacking(const Key& key, const std::vector<std::string>& loaded, const std::set<std::string>& held) {
  std::set<std::string> parents, likes;
  bool holds_own = false;
  for (const std::string& tensor : held) {
    Named module = key.module_of(tensor);
    if (module.path.empty()) continue;
    likes.insert(without_numbers(module.path));
    parents.insert(std::move(module.parent));
    holds_own = holds_own || module.is_own;
  }
  Lacking found;
  found.is_known = !likes.empty();
  for (const std::string& tensor : loaded) {
    const Named module = key.module_of(tensor);
    if (module.path.empty()) continue;
    found.is_known = true;
    if (held.contains(tensor)) continue;
    const auto first = held.lower_bound(module.path + ".");
    const bool is_part_held = first != held.end() && first->starts_with(module.path + ".");
    const bool is_first = module.is_own ? !holds_own : likes.empty();
    if (is_part_held ? !parents.contains(module.parent)
                     : !is_first && !likes.contains(without_numbers(module.path))) {
      found.unsure.push_back(tensor);
    } else if (found.sure.empty()) {
      found.sure = tensor;
    }
  }
  return found;
}

}  // namespace

void check_saved_modules(MergeBase& base, const Adapter& adapter, const NamesInBase& names) {
  const LoraConfig& config = adapter.config;
  if (config.modules_to_save.empty()) return;
  const MemoryNames in_memory(base);
  std::set<std::string> held;
  for (const std::string& name : held_tensors(adapter, names)) held.insert(in_memory(name));
  std::vector<std::string> loaded = loaded_tensors(base);
  for (std::string& name : loaded) name = in_memory(name);
  for (const std::string& key : config.modules_to_save) {
    const Lacking found = lacking(Key(key, in_memory(names(key + ".weight"))), loaded, held);
    if (!found.sure.empty())
      throw malformed(fmt::format("modules_to_save names {}, but the adapter lacks {}, which the base has",
                                  escape_name(key), escape_name(found.sure)))
          .in_file(escape_name(adapter.name))
          .hint("PEFT does not load such an adapter either: save it again");
    if (!found.unsure.empty())
      base.note(
          fmt::format("modules_to_save names {}, but the adapter lacks {}{}: the values of the base stay",
                      escape_name(key), escape_name(found.unsure.front()),
                      found.unsure.size() == 1 ? "" : fmt::format(" and {} more", found.unsure.size() - 1)));
    // For a task PEFT adds the usual names of heads by itself.
    if (!found.is_known && !is_classifier_task(config.task_type))
      base.note(
          fmt::format("modules_to_save names {}, which neither base nor adapter has: PEFT passes over it",
                      escape_name(key)));
  }
}

}  // namespace mu
