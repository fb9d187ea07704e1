// SPDX-License-Identifier: Apache-2.0
#include "lora/made_config.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "lora/served_names.h"
#include "model/module_path.h"

namespace mu {

LoraConfig make_config(const std::vector<LoraModule>& modules, const std::vector<ReplacedTensor>& replaced,
                       const std::vector<std::string>& base_modules, double alpha) {
  LoraConfig config;
  std::map<std::uint64_t, std::size_t> ranks;
  for (const LoraModule& module : modules) ++ranks[module.rank];
  const auto most = std::max_element(ranks.begin(), ranks.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  config.rank = most == ranks.end() ? 8 : most->first;
  config.alpha = alpha;
  std::set<std::string> targets, names;
  std::vector<std::pair<std::string, std::uint64_t>> ranks_apart;
  for (const LoraModule& module : modules) {
    names.insert(module.name);
    config.use_dora = config.use_dora || module.magnitude != nullptr;
    config.lora_bias = config.lora_bias || module.bias != nullptr;
    if (module.rank != config.rank) ranks_apart.emplace_back(module.name, module.rank);
  }
  // Longest first: a short path matches every longer one that ends with it.
  std::stable_sort(ranks_apart.begin(), ranks_apart.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  for (const auto& [name, rank] : ranks_apart)
    config.rank_pattern.add(escaped_for_python(name), static_cast<double>(rank));
  std::set<std::string> shared;  // last components that non-targets have too
  for (const std::string& module : base_modules) {
    if (!names.contains(module)) shared.emplace(last_component(module));
    // PEFT looks at the modules around layers too: "0" of "merger.mlp.0" would take "blocks.0".
    const std::vector<std::string_view> parts = split(module, '.');
    shared.insert(parts.begin(), parts.end() - 1);
  }
  for (const std::string& name : names) {
    const std::string last(last_component(name));
    targets.insert(!base_modules.empty() && !shared.contains(last) ? last : name);
  }
  config.target_modules.assign(targets.begin(), targets.end());
  std::set<std::string> saved;
  for (const ReplacedTensor& tensor : replaced) {
    const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
    if (tensor.name.ends_with(".bias") && names.contains(module)) {
      config.bias = config.bias == "all" ? "all" : "lora_only";
    } else {
      saved.emplace(last_component(module));
    }
  }
  config.modules_to_save.assign(saved.begin(), saved.end());
  return config;
}

}  // namespace mu
