// SPDX-License-Identifier: Apache-2.0
// adapter_config.json of a LoRA adapter: what decides which deltas its tensors mean, read from any version of
// PEFT and written in the form that every version from 0.6 on reads. Source: PEFT 0.21,
// tuners/lora/config.py.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mu {

struct LoraConfig {
  std::uint64_t rank = 0;
  double alpha = 0;
  // By module path or a suffix of it (regular expressions in PEFT's reading), in file order.
  std::vector<std::pair<std::string, double>> rank_pattern, alpha_pattern;
  bool use_rslora = false, use_dora = false, lora_bias = false, fan_in_fan_out = false;
  std::string bias = "none";
  std::vector<std::string> target_modules, target_parameters, modules_to_save;
  // Rows of embeddings that were trained: ids by module name ("embed_tokens").
  std::map<std::string, std::vector<std::uint64_t>> trainable_tokens;
  std::string base_model;  // an id, or the path a run had it under
  std::string task_type = "CAUSAL_LM";
  std::string initialisation;  // "pissa" and others that change the base; empty for those that don't
  std::string text;            // as it was read

  // Of a module path: its own pattern's value, else that of all (get_pattern_key of PEFT).
  [[nodiscard]] double rank_of(std::string_view module) const;
  [[nodiscard]] double alpha_of(std::string_view module) const;
  // The ids of the trained rows of an embedding, or null.
  [[nodiscard]] const std::vector<std::uint64_t>* tokens_of(std::string_view module) const;
  // alpha / r, or alpha / sqrt(r) of rsLoRA.
  [[nodiscard]] double scale_of(std::string_view module) const;
};

// Throws kMalformed for what is no LoRA: other kinds of adapters, variants whose deltas are not B A, by name.
LoraConfig parse_lora_config(std::string text);

// The text of a config with the values of some keys exchanged for others, given as JSON; keys that are
// missing are added. Everything else stays byte for byte.
std::string with_config_values(std::string text,
                               const std::vector<std::pair<std::string, std::string>>& values);

// The keys that PEFT 0.6 knew, and newer ones where a feature needs them; sorted, indented by two.
std::string lora_config_text(const LoraConfig& config);

}  // namespace mu
