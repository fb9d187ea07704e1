// SPDX-License-Identifier: Apache-2.0
// Most keys are plain names, and there can be one for each module. So plain names are compared as text, with the
// dot standing for any character as it does for PEFT, and only others become regular expressions. Names with
// characters that make a difference there (line ends, bytes above ASCII) always go the long way.
#include "model/adapter_patterns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxRank = 1U << 20;

// Without characters that mean something to a regular expression, but for the dot.
bool is_plain(std::string_view key) {
  return key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
         std::string_view::npos;
}

bool is_plain_name(std::string_view module) {
  return std::all_of(module.begin(), module.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// `(.*\.)?(KEY)$` for a plain key and a plain name.
bool ends_in(std::string_view module, std::string_view key) {
  if (module.size() < key.size()) return false;
  const std::size_t start = module.size() - key.size();
  if (start > 0 && module[start - 1] != '.') return false;
  for (std::size_t i = key.size(); i-- > 0;) {
    if (key[i] != module[start + i] && key[i] != '.') return false;
  }
  return true;
}

// Whether the key begins with ".*" in each of its alternatives: then PEFT's `(.*\.)?` adds nothing but tries.
// False where that takes more than a look.
bool begins_anywhere(std::string_view key) {
  if (!key.starts_with(".*") || key.find('[') != std::string_view::npos ||
      key.find("(?") != std::string_view::npos)
    return false;
  if (key.size() > 2 && std::string_view("?+*{").find(key[2]) != std::string_view::npos) return false;
  int depth = 0;
  for (std::size_t i = 2; i < key.size(); ++i) {
    if (key[i] == '\\') {
      if (++i < key.size() && key[i] >= '0' && key[i] <= '9') return false;
      continue;
    }
    depth += key[i] == '(' ? 1 : key[i] == ')' ? -1 : 0;
    if (depth < 0 || (depth == 0 && key[i] == '|')) return false;
  }
  return true;
}

Regex end_pattern(const std::string& key) {
  return Regex((begins_anywhere(key) ? "(" : "(.*\\.)?(") + key + ")$", key);
}

// The head of a language model (get_output_embeddings), which "all-linear" leaves out.
bool is_output_head(std::string_view module) {
  const std::string_view last = module.substr(module.rfind('.') + 1);
  return last == "lm_head" || last == "embed_out" || last == "output_projection" ||
         module.ends_with("lm_head.decoder") || module.ends_with("predictions.decoder");
}

Error wrong_type(std::string_view key, std::string_view what) {
  return malformed(fmt::format("{} is not {}", key, what));
}

bool is_null(const JsonValue* value) {
  return value == nullptr || value->kind() == JsonValue::Kind::kNull;
}

// A string, or a list of strings; null is an empty one.
std::vector<std::string> strings_of(const JsonValue* value, std::string_view key) {
  std::vector<std::string> list;
  if (is_null(value)) return list;
  if (const std::string* one = value->as_string()) return {*one};
  if (!value->is_array()) throw wrong_type(key, "a text or a list of texts");
  for (const JsonValue& item : value->items()) {
    const std::string* text = item.as_string();
    if (text == nullptr) throw wrong_type(key, "a text or a list of texts");
    list.push_back(*text);
  }
  return list;
}

// Why a value can't be the rank of an adapter; empty: it can.
std::string rank_fault(const JsonValue& value) {
  const std::optional<std::uint64_t> number = value.as_u64();
  if (number && (*number < 1 || *number > kMaxRank))
    return fmt::format("{}, not from 1 to {}", *number, kMaxRank);
  if (number) return "";
  switch (value.kind()) {
    case JsonValue::Kind::kNumber:
      return value.number_text() + ", not a positive whole number";
    case JsonValue::Kind::kBool:
      return "a boolean, not a positive whole number";
    case JsonValue::Kind::kString:
      return "a text, not a positive whole number";
    default:
      return "not a positive whole number";
  }
}

ModulePatterns parse_patterns(const JsonValue& root, std::string_view key, bool of_ranks) {
  ModulePatterns patterns;
  const JsonValue* value = root.find(key);
  if (is_null(value)) return patterns;
  if (!value->is_object()) throw wrong_type(key, "an object of numbers by module names");
  for (const JsonValue::Member& member : value->members()) {
    const std::string fault = of_ranks ? rank_fault(member.value) : "";
    if (!fault.empty())
      throw malformed(fmt::format("{}: the rank of '{}' is {}", key, escape_name(member.key), fault));
    const std::optional<double> number = member.value.as_double();
    if (!number || !std::isfinite(*number))
      throw malformed(fmt::format("{}: the value of '{}' is not a number", key, escape_name(member.key)));
    try {
      patterns.add(member.key, *number);
    } catch (const Error& error) {
      throw malformed(fmt::format("{}: {}", key, error.message()));
    }
  }
  return patterns;
}

}  // namespace

void ModulePatterns::add(const std::string& key, double value) {
  const auto [place, is_new] = places_.emplace(key, entries_.size());
  if (!is_new) {
    entries_[place->second].second = value;
    return;
  }
  entries_.emplace_back(key, value);
  regexes_.emplace_back();
  if (is_plain(key)) return;
  regexes_.back() = end_pattern(key);
  regexes_.back()->check();
}

bool ModulePatterns::has_expressions() const {
  return std::any_of(regexes_.begin(), regexes_.end(), [](const auto& regex) { return regex.has_value(); });
}

std::optional<double> ModulePatterns::find(std::string_view module, RegexBudget& budget) const {
  if (entries_.empty()) return std::nullopt;
  if (!budget.spend(1 + entries_.size() / 16)) throw malformed("its patterns take too long to match");
  const bool is_simple = is_plain_name(module);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const auto& [key, value] = entries_[i];
    const std::optional<Regex>& regex = regexes_[i];
    const bool matches = regex       ? regex->match_start(module, budget).has_value()
                         : is_simple ? ends_in(module, key)
                                     : end_pattern(key).match_start(module, budget).has_value();
    if (matches) return value;
  }
  return std::nullopt;
}

bool TargetModules::Choice::names_end_of(std::string_view module) const {
  for (std::size_t at = 0;;) {
    if (names.contains(module.substr(at))) return true;
    at = module.find('.', at);
    if (at == std::string_view::npos) return false;
    ++at;
  }
}

TargetModules::Choice TargetModules::parse_choice(const JsonValue& root, std::string_view key) {
  Choice choice;
  const JsonValue* value = root.find(key);
  choice.is_given = !is_null(value);
  std::vector<std::string> list = strings_of(value, key);
  if (choice.is_given && !value->is_array())
    choice.pattern.emplace(std::move(list.front()));
  else
    choice.names.insert(list.begin(), list.end());
  return choice;
}

void TargetModules::parse_layers(const JsonValue& root) {
  const JsonValue* layers = root.find("layers_to_transform");
  const std::vector<std::string> patterns = strings_of(root.find("layers_pattern"), "layers_pattern");
  if (targets_.pattern && (!is_null(layers) || !is_null(root.find("layers_pattern"))))
    throw malformed("layers_to_transform and layers_pattern can't be set where target_modules is a text");
  if (!patterns.empty() && is_null(layers))
    throw malformed("layers_pattern is set, but layers_to_transform is not");
  if (is_null(layers)) return;
  const auto add = [this](const JsonValue& number) {
    if (number.kind() != JsonValue::Kind::kNumber ||
        number.number_text().find_first_not_of("-0123456789") != std::string::npos)
      throw wrong_type("layers_to_transform", "a whole number or a list of whole numbers");
    layers_.insert(number.number_text());
  };
  if (layers->is_array())
    std::for_each(layers->items().begin(), layers->items().end(), add);
  else
    add(*layers);
  for (const std::string& pattern : patterns)
    layer_patterns_.emplace_back("(?:^|.*?\\.)" + pattern + "\\.(?P<idx>\\d+)\\.", pattern);
  // The lazy beginning finds the number of the layer, not that of an expert in it.
  if (patterns.empty()) layer_patterns_.emplace_back(".*?\\.[^.]*\\.(?P<idx>\\d+)\\.");
}

TargetModules TargetModules::parse(const JsonValue& root) {
  TargetModules modules;
  modules.targets_ = parse_choice(root, "target_modules");
  modules.excluded_ = parse_choice(root, "exclude_modules");
  if (modules.targets_.pattern)
    modules.all_linear_ = lower_ascii(modules.targets_.pattern->pattern()) == "all-linear";
  if (modules.excluded_.pattern && modules.excluded_.pattern->pattern().empty()) modules.excluded_ = {};
  modules.parse_layers(root);
  for (const std::string& name : strings_of(root.find("modules_to_save"), "modules_to_save"))
    modules.saved_.emplace_back(name, Regex("(^|.*\\.)" + name + "($|\\..*)", name));
  const JsonValue* parameters = root.find("target_parameters");
  if (!is_null(parameters) && !parameters->is_array())
    throw wrong_type("target_parameters", "a list of texts");
  modules.has_parameters_ = !strings_of(parameters, "target_parameters").empty();
  modules.ties_ = root.find_true("ensure_weight_tying");
  const std::string* task = root.find_string("task_type");
  modules.is_classifier_ = task != nullptr && *task == "SEQ_CLS";
  const auto check = [](std::string_view key, const Regex& regex) {
    try {
      regex.check();
    } catch (const Error& error) {
      throw malformed(fmt::format("{}: {}", key, error.message()));
    }
  };
  if (modules.targets_.pattern) check("target_modules", *modules.targets_.pattern);
  if (modules.excluded_.pattern) check("exclude_modules", *modules.excluded_.pattern);
  for (const auto& [name, regex] : modules.saved_) check("modules_to_save", regex);
  for (const Regex& regex : modules.layer_patterns_) check("layers_pattern", regex);
  return modules;
}

bool TargetModules::is_saved(std::string_view module, RegexBudget& budget) const {
  for (const auto& [name, regex] : saved_) {
    // A single component is looked for as text.
    if (is_plain(name) && name.find('.') == std::string::npos && is_plain_name(module)) {
      const std::vector<std::string_view> parts = split(module, '.');
      if (std::find(parts.begin(), parts.end(), name) != parts.end()) return true;
    } else if (regex.match_start(module, budget)) {
      return true;
    }
  }
  return false;
}

bool TargetModules::is_layer(std::string_view module, RegexBudget& budget) const {
  for (const Regex& pattern : layer_patterns_) {
    const std::optional<RegexMatch> match = pattern.match_start(module, budget);
    if (!match) continue;
    std::string_view index = match->groups[*pattern.group_index("idx")].value_or("");
    while (index.size() > 1 && index.front() == '0') index.remove_prefix(1);
    return layers_.contains(std::string(index));
  }
  return false;
}

bool TargetModules::covers(std::string_view module, bool is_embedding, RegexBudget& budget) const {
  const bool is_head = is_output_head(module);
  if (ties_ && is_head) return true;
  if (excluded_.pattern ? excluded_.pattern->matches_all(module, budget) : excluded_.names_end_of(module))
    return false;
  if (is_saved(module, budget)) return false;
  if (!targets_.is_given) return !has_parameters_;
  if (all_linear_) {
    const bool is_classifier_head = is_classifier_ && (module == "score" || module == "classifier");
    return !is_embedding && !is_head && !is_classifier_head;
  }
  if (targets_.pattern) return targets_.pattern->matches_all(module, budget);
  if (targets_.names.contains(module)) return true;
  if (!targets_.names_end_of(module)) return false;
  return layers_.empty() || is_layer(module, budget);
}

double AdapterPatterns::rank_of(std::string_view module) const {
  return rank_pattern.find(module, *budget).value_or(static_cast<double>(rank));
}

double AdapterPatterns::alpha_of(std::string_view module) const {
  return alpha_pattern.find(module, *budget).value_or(alpha);
}

bool AdapterPatterns::covers(std::string_view module, bool is_embedding) const {
  return targets.covers(module, is_embedding, *budget);
}

bool AdapterPatterns::has_parameter_in(std::string_view module) const {
  while (module.ends_with(".base_layer")) module.remove_suffix(std::string_view(".base_layer").size());
  return std::any_of(target_parameters.begin(), target_parameters.end(), [&](std::string_view target) {
    const std::size_t dot = target.rfind('.');
    const std::string_view owner = target.substr(0, dot);
    return dot == std::string_view::npos || module == owner ||
           (module.ends_with(owner) && module[module.size() - owner.size() - 1] == '.');
  });
}

void require_effect(const AdapterPatterns& patterns) {
  if (patterns.alpha != 0 || !patterns.alpha_pattern.entries().empty()) return;
  throw malformed("lora_alpha is 0, so this adapter would change nothing")
      .hint("verl's model_merger leaves it 0: lora-extract --alpha N writes the one of the training");
}

AdapterPatterns parse_adapter_patterns(const JsonValue& root) {
  AdapterPatterns patterns;
  const JsonValue* rank = root.find("r");
  const std::string fault = rank == nullptr ? "" : rank_fault(*rank);
  if (!fault.empty()) throw malformed("r is " + fault);
  patterns.rank = rank == nullptr ? 8 : *rank->as_u64();
  const JsonValue* alpha = root.find("lora_alpha");
  const std::optional<double> number = alpha == nullptr ? 8 : alpha->as_double();
  if (!number || !std::isfinite(*number)) throw malformed("lora_alpha is not a number");
  patterns.alpha = *number;
  patterns.rank_pattern = parse_patterns(root, "rank_pattern", true);
  patterns.alpha_pattern = parse_patterns(root, "alpha_pattern", false);
  patterns.targets = TargetModules::parse(root);
  patterns.target_parameters = strings_of(root.find("target_parameters"), "target_parameters");
  return patterns;
}

}  // namespace mu
