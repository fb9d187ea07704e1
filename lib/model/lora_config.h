// SPDX-License-Identifier: Apache-2.0
// adapter_config.json of a LoRA adapter: the settings that decide which deltas its tensors mean. Reads what
// any version of PEFT wrote, and writes the form that every version from 0.6 on reads. Source: PEFT 0.21.2,
// tuners/lora/config.py.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/adapter_patterns.h"

namespace mu {

struct LoraConfig : AdapterPatterns {
  bool use_rslora = false, use_dora = false, lora_bias = false, fan_in_fan_out = false;
  std::string bias = "none";
  std::vector<std::string> target_modules, modules_to_save;
  // Trained rows of embeddings: token ids by the end of the module's path ("embed_tokens"), or by "" where they
  // are those of the input embedding, whatever the model calls it, and of the head that is tied to it.
  std::map<std::string, std::vector<std::uint64_t>> trainable_tokens;
  std::string base_model;  // an id, or the path where the training run had it
  std::string task_type = "CAUSAL_LM";
  std::string initialisation;  // "pissa" or another that changes the base; empty for others
  std::string text;            // the text that was read

  // The ids of the trained rows of an embedding, or null.
  [[nodiscard]] const std::vector<std::uint64_t>* tokens_of(std::string_view module) const;
  [[nodiscard]] double scale_of(std::string_view module) const;  // of its deltas
};

// alpha / r, or alpha / sqrt(r) for rsLoRA.
double lora_scale(double alpha, double rank, bool use_rslora);

// The outermost module, of this one and those around it, that `key` of modules_to_save names: one whose path ends so
// (_set_trainable in PEFT). Empty if it names none.
std::string_view saved_module(std::string_view module, std::string_view key);

// Throws kMalformed, with the name, for what is not LoRA: other types of adapters, and variants whose deltas
// are not B A.
LoraConfig parse_lora_config(std::string text);

// Writes the keys that PEFT 0.6 knew, and newer ones only if a feature needs them; sorted, indented by two.
std::string lora_config_text(const LoraConfig& config);

}  // namespace mu
