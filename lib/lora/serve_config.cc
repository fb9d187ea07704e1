// SPDX-License-Identifier: Apache-2.0
// Ranks and alphas that differ from the general ones are in patterns, expressions for the ends of names, of which the
// first that fits counts. One pattern stands for as many modules as possible: all that end alike, else all experts of
// a layer, else one module. A pattern can fit more modules than were meant ("down_proj" also those of experts), and
// those get a longer one of their own, before it.
#include "lora/serve_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "base/json_write.h"
#include "base/text.h"
#include "lora/made_config.h"
#include "lora/served_names.h"
#include "model/module_path.h"
#include "model/name_table.h"

namespace mu {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string number_text(double value) {
  std::string text;
  JsonWriter json(text);
  if (value == static_cast<double>(static_cast<std::int64_t>(value)))
    json.value(static_cast<std::int64_t>(value));
  else
    json.value(value);
  return text;
}

std::string list_text(const std::vector<std::string>& values) {
  std::string text = "[";
  for (const std::string& value : values) {
    text += text.size() > 1 ? ",\n    " : "\n    ";
    append_json_string_ascii(text, value);
  }
  return text + (values.empty() ? "]" : "\n  ]");
}

// The patterns that may stand for a name, each for more names than the next.
std::vector<std::string> patterns_for(const std::string& name) {
  const std::size_t last = name.rfind('.'),
                    before = last == std::string::npos ? last : name.rfind('.', last - 1);
  const std::string leaf(last_component(name));
  if (before == std::string::npos) return {leaf, name};
  if (!is_digits(std::string_view(name).substr(before + 1, last - before - 1))) {
    // A parameter of experts is matched by the module that holds it, too.
    const std::string owner = name.substr(before + 1, last - before - 1);
    return {owner == "experts" ? owner + "." + leaf : leaf, escaped_for_python(name)};
  }
  const std::string container = name.substr(0, before);
  return {std::string(last_component(container)) + ".\\d+." + leaf,
          escaped_for_python(container) + ".\\d+." + leaf, escaped_for_python(name)};
}

// The values of names, as patterns for all that differ from `general`.
class PatternWriter {
 public:
  PatternWriter(std::map<std::string, double> values, double general)
      : values_(std::move(values)), general_(general) {}

  std::string json() {
    std::vector<const std::string*> names;
    for (const auto& [name, value] : values_) names.push_back(&name);
    add(names, 0);
    std::stable_sort(entries_.begin(), entries_.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    add_exceptions();
    if (entries_.empty()) return "{}";
    std::string text = "{";
    for (const auto& [key, value] : entries_) {
      text += text.size() > 1 ? ",\n    " : "\n    ";
      append_json_string_ascii(text, key);
      text += ": " + number_text(value);
    }
    return text + "\n  }";
  }

 private:
  void add(const std::vector<const std::string*>& names, std::size_t level) {
    std::map<std::string, std::vector<const std::string*>> groups;
    for (const std::string* const name : names) {
      const std::vector<std::string> patterns = patterns_for(*name);
      groups[patterns[std::min(level, patterns.size() - 1)]].push_back(name);
    }
    for (const auto& [pattern, group] : groups) {
      const double value = values_.at(*group.front());
      const bool alike = std::all_of(group.begin(), group.end(),
                                     [&](const std::string* name) { return values_.at(*name) == value; });
      if (!alike && group.size() > 1)
        add(group, level + 1);
      else if (value != general_)
        entries_.emplace_back(pattern, value);
    }
  }

  // Names that a pattern for others fits.
  void add_exceptions() {
    ModulePatterns patterns;
    for (const auto& [key, value] : entries_) patterns.add(key, value);
    RegexBudget budget;
    std::vector<std::pair<std::string, double>> exceptions;
    for (const auto& [name, value] : values_) {
      if (patterns.find(name, budget).value_or(general_) == value) continue;
      const std::string pattern = patterns_for(name).front();
      const bool alike = std::all_of(values_.begin(), values_.end(), [&, own = value](const auto& other) {
        return patterns_for(other.first).front() != pattern || other.second == own;
      });
      exceptions.emplace_back(
          alike && pattern.find('.') != std::string::npos ? pattern : escaped_for_python(name), value);
      patterns.add(exceptions.back().first, value);
    }
    std::sort(exceptions.begin(), exceptions.end());
    exceptions.erase(std::unique(exceptions.begin(), exceptions.end()), exceptions.end());
    entries_.insert(entries_.begin(), exceptions.begin(), exceptions.end());
  }

  std::map<std::string, double> values_;
  double general_;
  std::vector<std::pair<std::string, double>> entries_;
};

// The value that one of the modules has already, else that of most.
double general_of(const std::map<std::string, double>& values, double old) {
  std::map<double, std::size_t> counts;
  for (const auto& [name, value] : values) ++counts[value];
  if (counts.contains(old)) return old;
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

class ConfigWriter {
 public:
  ConfigWriter(Server server, const LoraConfig& config, const std::vector<ServedPair>& pairs,
               const ServedBase& base)
      : server_(server), config_(config), pairs_(pairs), base_(base) {}

  std::string run() {
    if (pairs_.empty()) return config_.text;
    set_ranks();
    if (server_ == Server::kPeft)
      set_peft_targets();
    else
      set_leaves();
    return with_config_edits(config_.text, edits_);
  }

 private:
  void set(std::string key, std::string json) { edits_.push_back({{std::move(key)}, std::move(json)}); }

  void set_ranks() {
    std::map<std::string, double> ranks, alphas;
    bool already = server_ != Server::kSglang;
    double most = 0;
    for (const ServedPair& pair : pairs_) {
      const auto rank = static_cast<double>(pair.factors.rank);
      ranks[pair.matched] = rank;
      alphas[pair.matched] = pair.factors.alpha;
      most = std::max(most, rank);
      already = already && config_.rank_of(pair.matched) == rank &&
                config_.alpha_of(pair.matched) == pair.factors.alpha;
    }
    // vLLM wants room for all ranks that the config has, whether a module has them or not.
    if (already && (server_ != Server::kVllm || largest_rank() <= most)) return;
    const double rank = general_of(ranks, static_cast<double>(config_.rank));
    const double alpha = general_of(alphas, config_.alpha);
    if (rank != static_cast<double>(config_.rank)) set("r", number_text(rank));
    if (alpha != config_.alpha) set("lora_alpha", number_text(alpha));
    set_pattern("rank_pattern", config_.rank_pattern, PatternWriter(std::move(ranks), rank).json());
    set_pattern("alpha_pattern", config_.alpha_pattern, PatternWriter(std::move(alphas), alpha).json());
    if (server_ == Server::kSglang && config_.use_rslora) set("use_rslora", "false");
  }

  [[nodiscard]] double largest_rank() const {
    auto most = static_cast<double>(config_.rank);
    for (const auto& [key, rank] : config_.rank_pattern.entries()) most = std::max(most, rank);
    return most;
  }

  void set_pattern(const std::string& key, const ModulePatterns& old, std::string json) {
    if (!old.entries().empty() || json != "{}") set(key, std::move(json));
  }

  // What servers compare: the last components.
  void set_leaves() {
    constexpr std::string_view kLayer = ".base_layer";
    std::set<std::string> leaves;
    for (const ServedPair& pair : pairs_) {
      std::string module = pair.module;
      while (module.ends_with(kLayer)) module.resize(module.size() - kLayer.size());
      leaves.emplace(last_component(module));
    }
    const std::vector<std::string> sorted(leaves.begin(), leaves.end());
    if (!is_list("target_modules") || config_.target_modules != sorted)
      set("target_modules", list_text(sorted));
    if (!config_.target_parameters.empty()) set("target_parameters", "null");
  }

  [[nodiscard]] bool is_list(std::string_view key) const {
    const JsonDocument document = parse_json(config_.text);
    const JsonValue* const value = document.root.find(key);
    return value != nullptr && value->is_array();
  }

  // PEFT gives factors to what the config names, and warns of those that a file lacks: it names exactly the modules.
  void set_peft_targets() {
    std::set<std::string> modules, parameters;
    for (const ServedPair& pair : pairs_) {
      if (pair.matched != pair.module)
        parameters.insert(pair.matched);
      else if (is_parameter(pair.module))
        parameters.insert(pair.module + std::string(kWeight));
      else
        modules.insert(pair.module);
    }
    const bool same_parameters = parameters == named_parameters();
    if (!names_exactly(modules) || (!same_parameters && names_more(modules))) {
      set("target_modules", list_text(target_modules(modules)));
      for (const std::string key : {"exclude_modules", "layers_to_transform", "layers_pattern"}) {
        if (config_.text.find('"' + key + '"') != std::string::npos) set(key, "null");
      }
    }
    if (same_parameters) return;
    std::set<std::string> all = parameters;
    for (const ServedTensor& tensor : base_.tensors()) all.insert(tensor.memory);
    set("target_parameters", parameters.empty() ? "null" : list_text(short_endings(parameters, all)));
    // PEFT refuses parameters with a dropout, which only training has.
    if (!parameters.empty()) set("lora_dropout", "0.0");
  }

  // A router, or a layer whose name PEFT takes for one of experts.
  [[nodiscard]] bool is_parameter(const std::string& module) const {
    const std::string name = module + std::string(kWeight);
    return std::any_of(config_.target_parameters.begin(), config_.target_parameters.end(),
                       [&](const std::string& target) { return ends_in_path(name, target); }) ||
           becomes_expert_parameter(base_.model_type(), last_component(module)) || is_router(module);
  }

  [[nodiscard]] bool is_router(const std::string& module) const {
    const std::string_view leaf = last_component(module);
    return (leaf == "router" || leaf == "gate") &&
           !base_.stacks_in(module.substr(0, module.size() - leaf.size()) + "experts").empty();
  }

  // The layers of the base that PEFT could give factors to.
  [[nodiscard]] std::vector<std::string> layers() const {
    std::vector<std::string> list;
    for (const ServedTensor& tensor : base_.tensors()) {
      if (!tensor.is_part && tensor.memory.ends_with(kWeight))
        list.push_back(tensor.memory.substr(0, tensor.memory.size() - kWeight.size()));
    }
    return list;
  }

  [[nodiscard]] bool names_exactly(const std::set<std::string>& modules) const {
    const auto covers = [&](const std::string& module) {
      return config_.covers(module, is_embedding_layer(last_component(module)));
    };
    if (!std::all_of(modules.begin(), modules.end(), covers)) return false;
    for (const ServedTensor& tensor : base_.tensors()) {
      if (tensor.is_part || tensor.shape.size() != 2 || !tensor.memory.ends_with(kWeight)) continue;
      const std::string module = tensor.memory.substr(0, tensor.memory.size() - kWeight.size());
      if (!modules.contains(module) && !is_parameter(module) && covers(module)) return false;
    }
    return true;
  }

  // Whether the list has names that no module ends in, as those of single experts, or of the module that holds them.
  [[nodiscard]] bool names_more(const std::set<std::string>& modules) const {
    return std::any_of(
        config_.target_modules.begin(), config_.target_modules.end(), [&](const std::string& target) {
          return std::none_of(modules.begin(), modules.end(),
                              [&](const std::string& module) { return ends_in_path(module, target); });
        });
  }

  [[nodiscard]] std::vector<std::string> target_modules(const std::set<std::string>& modules) const {
    std::vector<LoraModule> list;
    for (const std::string& module : modules) list.push_back({.name = module});
    return make_config(list, {}, layers(), 1).target_modules;
  }

  // The parameters of the base that the config names.
  [[nodiscard]] std::set<std::string> named_parameters() const {
    std::set<std::string> named;
    for (const ServedTensor& tensor : base_.tensors()) {
      for (const std::string& target : config_.target_parameters) {
        if (ends_in_path(tensor.memory, target)) named.insert(tensor.memory);
      }
    }
    return named;
  }

  Server server_;
  const LoraConfig& config_;
  const std::vector<ServedPair>& pairs_;
  const ServedBase& base_;
  std::vector<ConfigEdit> edits_;
};

}  // namespace

std::string served_config(Server server, const LoraConfig& config, const std::vector<ServedPair>& pairs,
                          const ServedBase& base) {
  return ConfigWriter(server, config, pairs, base).run();
}

}  // namespace mu
