// SPDX-License-Identifier: Apache-2.0
#include "lora/module_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/text.h"

namespace mu {
namespace {

std::string first_component(const std::string& name) {
  return name.substr(0, name.find('.'));
}

bool is_lm_head(const std::string& name) {
  return name == "lm_head.weight" || name.ends_with(".lm_head.weight");
}

// The tensors by which a rule is judged. Experts have several spellings of their own, and an output head stands
// outside the base model.
std::vector<std::string> judged_tensors(const Adapter& adapter) {
  std::vector<std::string> names;
  for (const LoraModule& module : adapter.modules) {
    if (module.name.find("experts") == std::string::npos) names.push_back(module.name + ".weight");
  }
  for (const ReplacedRows& rows : adapter.rows) names.push_back(rows.module + ".weight");
  std::erase_if(names, is_lm_head);
  return names;
}

// The adapter's output heads that the base has under another name only, as files of GPT-NeoX do (embed_out).
std::vector<std::string> renamed_heads(const Adapter& adapter, MergeBase& base) {
  std::vector<std::string> names;
  const std::shared_ptr<const TensorNames> table =
      base.input().config ? TensorNames::of(*base.input().config) : nullptr;
  if (!table) return names;
  for (const LoraModule& module : adapter.modules) names.push_back(module.name + ".weight");
  for (const ReplacedTensor& replaced : adapter.replaced) names.push_back(replaced.name);
  std::erase_if(names, [&](const std::string& name) {
    return !is_lm_head(name) || base.contains(name) || !base.contains(table->published(name));
  });
  return names;
}

}  // namespace

std::string ModuleNames::operator()(const std::string& tensor) const {
  if (names_) return (*names_)(tensor);
  if (!strip_.empty() && tensor.starts_with(strip_)) return tensor.substr(strip_.size());
  return prefixed_tops_.contains(first_component(tensor)) ? prefix_ + tensor : tensor;
}

bool ModuleNames::fits(MergeBase& base, const std::vector<std::string>& tensors) const {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const std::string& tensor) { return base.contains((*this)(tensor)); });
}

bool ModuleNames::strip_first(MergeBase& base, const std::vector<std::string>& tensors) {
  strip_ = first_component(tensors.front()) + ".";
  if (fits(base, tensors)) {
    base.note(
        fmt::format("names in the adapter begin with '{}', names in the base don't", escape_name(strip_)));
    return true;
  }
  strip_.clear();
  return false;
}

bool ModuleNames::add_first(MergeBase& base, const std::vector<std::string>& tensors) {
  for (const std::string& tensor : tensors) prefixed_tops_.insert(first_component(tensor));
  for (const std::string_view candidate : {"model.", "transformer.", "language_model."}) {
    prefix_ = candidate;
    if (!fits(base, tensors)) continue;
    // Some keep the output head with the rest.
    if (!base.contains("lm_head.weight") && base.contains(prefix_ + "lm_head.weight"))
      prefixed_tops_.insert("lm_head");
    base.note(fmt::format("names in the base begin with '{}', names in the adapter don't", prefix_));
    return true;
  }
  prefixed_tops_.clear();
  return false;
}

ModuleNames::ModuleNames(MergeBase& base, const Adapter& adapter) {
  const std::vector<std::string> tensors = judged_tensors(adapter);
  const std::optional<ModelConfig>& config = base.input().config;
  std::vector<std::string> all = tensors;
  for (std::string& head : renamed_heads(adapter, base)) all.push_back(std::move(head));
  for (const LoraModule& module : adapter.modules) {
    if (module.name.find("experts") == std::string::npos) continue;
    std::string parameter = target_parameter_of(module.name, adapter.config);
    if (!parameter.empty()) all.push_back(std::move(parameter));
  }
  NamesInBase found = find_in_base(all, config ? &*config : nullptr, tensors_by_name(base.weights()));
  if (found.missing().empty() && found.way() != NamesInBase::Way::kAsIs)
    base.note(found.way() == NamesInBase::Way::kText
                  ? "the adapter of a text model is merged into the language model of the base"
                  : "names in the adapter are those of the model in memory, the base has those of files");
  const bool simple = !tensors.empty() && !found.missing().empty() &&
                      (strip_first(base, tensors) || add_first(base, tensors));
  if (!simple) names_ = std::move(found);
}

}  // namespace mu
