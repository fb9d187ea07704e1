// SPDX-License-Identifier: Apache-2.0
// The JSON files beside the weights, as far as the programs use them: config.json, adapter_config.json. Facts
// that a file does not give stay empty; a file that is not a JSON object throws kMalformed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "model/adapter_patterns.h"

namespace mu {

struct ModelConfig {
  std::string text;  // the file, for edits
  JsonValue root;
  std::vector<std::string> architectures;
  std::string model_type;
  std::optional<bool> tie_word_embeddings;

  // Where the dtype of the weights is written ("dtype" since Transformers 5, "torch_dtype" before); the same
  // key may be in sub-configs (text_config …), too.
  [[nodiscard]] const std::string* dtype() const;
};
ModelConfig parse_model_config(std::string text);

// The floating types that the config names for its weights, at the top and in sub-configs ("bfloat16"); that
// of the top comes first.
std::vector<std::string> stated_dtypes(const ModelConfig& config);

// The config with every "dtype" and "torch_dtype" that names a floating type set to `torch_name`, at the top
// and in sub-configs; everything else stays byte for byte.
std::string with_dtype(const ModelConfig& config, std::string_view torch_name);

// A value that a change of the model sets in its config, or takes out of it.
struct ConfigEdit {
  std::vector<std::string> path;    // {"text_config", "vocab_size"}
  std::optional<std::string> json;  // nothing: the key goes
};

// The text of a config with these values: replaced where a key is there, else added to its object; or removed. Everything
// else stays byte for byte. An object on the path that is missing is left out.
std::string with_config_edits(std::string text, const std::vector<ConfigEdit>& edits);

// Python files (without folders) that an auto_map of this document names: "modeling_x.XModel" ->
// "modeling_x.py". Names that point into other repositories ("owner/name--modeling_x.XModel") are left out.
std::vector<std::string> auto_map_files(const JsonValue& root);

struct AdapterConfig {
  std::string peft_type;
  std::string base_model;
  std::optional<std::uint64_t> rank;
  std::optional<AdapterPatterns> patterns{};  // of a LoRA adapter
  std::string fault{};                        // why there are none: what PEFT would refuse
  std::optional<double> alpha;
  std::vector<std::string> target_modules;
  std::string bias;  // "none", "all", "lora_only"; which biases of the base model are trained
};
AdapterConfig parse_adapter_config(std::string_view text);

}  // namespace mu
