// SPDX-License-Identifier: Apache-2.0
// The members of adapter_config.json that choose modules by their names, read as PEFT reads them: which modules
// get factors, of which rank, with which alpha. Keys of rank_pattern and alpha_pattern are regular expressions
// of Python for the end of a name; target_modules and exclude_modules are one for the whole name, if they are a
// string, and plain names otherwise. Source: PEFT 0.21.2, get_pattern_key (utils/other.py) and
// check_target_module_exists (tuners/tuners_utils.py).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/regex.h"

namespace mu {

// Values by patterns of module names: the first that matches wins, in the order of the file.
class ModulePatterns {
 public:
  using Entry = std::pair<std::string, double>;

  // An equal key keeps its place and gets the new value, as in a dict of Python. Throws kMalformed for a key
  // that Python would not compile.
  void add(const std::string& key, double value);
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  [[nodiscard]] std::optional<double> find(std::string_view module, RegexBudget& budget) const;
  // Whether a key is more than a name.
  [[nodiscard]] bool has_expressions() const;

 private:
  std::vector<Entry> entries_;
  std::vector<std::optional<Regex>> regexes_;  // of each entry; none for names without special characters
  std::unordered_map<std::string, std::size_t> places_;
};

// target_modules, exclude_modules, modules_to_save, layers_to_transform and layers_pattern.
class TargetModules {
 public:
  // Throws kMalformed, with the member named, for values of another type than PEFT takes.
  static TargetModules parse(const JsonValue& root);

  // Whether PEFT gives factors to the module. Where the config leaves that to the type of the model, any module is one.
  [[nodiscard]] bool covers(std::string_view module, bool is_embedding, RegexBudget& budget) const;

 private:
  // A string is a pattern, a list holds names or their last components.
  struct Choice {
    bool is_given = false;
    std::optional<Regex> pattern;
    std::set<std::string, std::less<>> names;
    [[nodiscard]] bool names_end_of(std::string_view module) const;
  };
  static Choice parse_choice(const JsonValue& root, std::string_view key);
  void parse_layers(const JsonValue& root);
  [[nodiscard]] bool is_saved(std::string_view module, RegexBudget& budget) const;
  [[nodiscard]] bool is_layer(std::string_view module, RegexBudget& budget) const;

  Choice targets_, excluded_;
  bool all_linear_ = false;  // target_modules is "all-linear"
  bool is_classifier_ = false;
  bool has_parameters_ = false, ties_ = false;  // target_parameters, ensure_weight_tying
  std::vector<std::pair<std::string, Regex>> saved_;
  std::set<std::string> layers_;  // as decimal numbers; empty: all
  std::vector<Regex> layer_patterns_;
};

// All of it, with the general rank and alpha.
struct AdapterPatterns {
  std::uint64_t rank = 0;  // 0: there is no config
  double alpha = 0;
  ModulePatterns rank_pattern, alpha_pattern;
  TargetModules targets;
  std::vector<std::string> target_parameters;
  // What the patterns of one adapter may take together; copies share it.
  std::shared_ptr<RegexBudget> budget = std::make_shared<RegexBudget>();

  // These throw kMalformed for a pattern that takes too long.
  [[nodiscard]] double rank_of(std::string_view module) const;
  [[nodiscard]] double alpha_of(std::string_view module) const;
  [[nodiscard]] bool covers(std::string_view module, bool is_embedding) const;
  // Whether factors of that name belong to a parameter of target_parameters: a stack of experts mostly, with the rank
  // for each of them.
  [[nodiscard]] bool has_parameter_in(std::string_view module) const;
};

// Throws kMalformed if lora_alpha is 0 (verl's model_merger writes it so) and no pattern has another: all factors
// are multiplied by it.
void require_effect(const AdapterPatterns& patterns);

// Throws kMalformed with the member named.
AdapterPatterns parse_adapter_patterns(const JsonValue& root);

}  // namespace mu
