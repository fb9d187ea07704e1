// SPDX-License-Identifier: Apache-2.0
#include "lora/module_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace mu {
namespace {

std::string first_component(const std::string& name) {
  return name.substr(0, name.find('.'));
}

// The modules by which a rule is judged. Experts have several spellings of their own, and an output head stands
// outside the base model.
std::vector<std::string> judged_modules(const Adapter& adapter) {
  const auto is_output = [](const std::string& name) {
    return name == "lm_head" || name.ends_with(".lm_head");
  };
  std::vector<std::string> names;
  for (const LoraModule& module : adapter.modules) {
    if (module.name.find("experts") == std::string::npos) names.push_back(module.name);
  }
  for (const ReplacedRows& rows : adapter.rows) names.push_back(rows.module);
  std::erase_if(names, is_output);
  return names;
}

}  // namespace

std::string ModuleNames::operator()(const std::string& name) const {
  if (!strip_.empty() && name.starts_with(strip_)) return name.substr(strip_.size());
  return prefixed_tops_.contains(first_component(name)) ? prefix_ + name : name;
}

bool ModuleNames::fits(MergeBase& base, const Adapter& adapter) const {
  const std::vector<std::string> names = judged_modules(adapter);
  return std::all_of(names.begin(), names.end(),
                     [&](const std::string& name) { return base.contains((*this)(name) + ".weight"); });
}

ModuleNames::ModuleNames(MergeBase& base, const Adapter& adapter) {
  const std::vector<std::string> names = judged_modules(adapter);
  if (names.empty() || fits(base, adapter)) return;
  const std::size_t dot = names.front().find('.');
  if (dot != std::string::npos) {
    strip_ = names.front().substr(0, dot + 1);
    if (fits(base, adapter)) {
      base.note(
          fmt::format("names in the adapter begin with '{}', names in the base don't", escape_name(strip_)));
      return;
    }
    strip_.clear();
  }
  for (const std::string& name : names) prefixed_tops_.insert(first_component(name));
  for (const std::string_view candidate : {"model.", "transformer.", "language_model."}) {
    prefix_ = candidate;
    if (!fits(base, adapter)) continue;
    // Some keep the output head with the rest.
    if (!base.contains("lm_head.weight") && base.contains(prefix_ + "lm_head.weight"))
      prefixed_tops_.insert("lm_head");
    base.note(fmt::format("names in the base begin with '{}', names in the adapter don't", prefix_));
    return;
  }
  prefixed_tops_.clear();
}

}  // namespace mu
