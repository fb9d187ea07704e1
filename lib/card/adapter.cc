// SPDX-License-Identifier: Apache-2.0
// Facts from the adapter_config.json of PEFT (PEFT 0.21.2, config.py and tuners/lora/config.py).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "card/gather.h"
#include "card/tables.h"

namespace mu {
namespace {

constexpr std::string_view kSource = "adapter_config.json";

std::vector<std::string> sorted_texts(const JsonValue* value) {
  std::vector<std::string> out = texts_of(value);
  std::sort(out.begin(), out.end());
  return out;
}

std::string task_of(std::string_view type) {
  if (type == "CAUSAL_LM" || type == "SEQ_2_SEQ_LM") return "text-generation";
  if (type == "SEQ_CLS") return "text-classification";
  if (type == "TOKEN_CLS") return "token-classification";
  if (type == "QUESTION_ANS") return "question-answering";
  if (type == "FEATURE_EXTRACTION") return "feature-extraction";
  return "";
}

}  // namespace

void add_adapter_config(CardFacts& facts, const JsonValue& config, const std::string& folder) {
  const auto text = [&](std::string_view key) {
    const std::string* value = config.find_string(key);
    return value == nullptr ? std::string() : *value;
  };
  if (const std::string name = text("base_model_name_or_path"); !name.empty() && !facts.has("base_model")) {
    if (add_base(facts, name, folder, kSource)) {
      if (!is_local_path(text("revision"))) facts.add("base_model_revision", text("revision"), kSource);
    } else {
      facts.notes.emplace_back(
          "adapter_config.json names the base model by a local path, which a card must not hold; give --base "
          "OWNER/NAME");
    }
  }
  facts.add("peft_type", text("peft_type"), kSource);
  facts.add("task_type", text("task_type"), kSource);
  facts.add("pipeline_tag", task_of(text("task_type")), "adapter_config.json task_type");
  const std::string version = text("peft_version");
  facts.add("version_PEFT", version.substr(0, version.find('@')), kSource);
  const std::optional<std::uint64_t> rank = config.find_u64("r");
  if (rank) facts.add_number("lora_r", static_cast<double>(*rank), kSource);
  const JsonValue* alpha = config.find("lora_alpha");
  if (alpha != nullptr && alpha->as_double()) {
    const bool stabilised = config.find_true("use_rslora");
    facts.add_number("lora_alpha", *alpha->as_double(), kSource);
    if (rank && *rank > 0) {
      const auto r = static_cast<double>(*rank);
      facts.add_number("lora_scaling", *alpha->as_double() / (stabilised ? std::sqrt(r) : r),
                       "lora_alpha and r");
    }
  }
  if (const JsonValue* dropout = config.find("lora_dropout"); dropout != nullptr && dropout->as_double())
    facts.add_number("lora_dropout", *dropout->as_double(), kSource);
  facts.add_list("target_modules", sorted_texts(config.find("target_modules")), kSource);
  facts.add_list("target_parameters", sorted_texts(config.find("target_parameters")), kSource);
  facts.add_list("modules_to_save", sorted_texts(config.find("modules_to_save")), kSource);
  if (config.find_true("use_dora")) facts.add("use_dora", "true", kSource);
  if (config.find_true("use_rslora")) facts.add("use_rslora", "true", kSource);
  if (text("bias") != "none") facts.add("lora_bias", text("bias"), kSource);
  facts.add("init_lora_weights", text("init_lora_weights"), kSource);
  std::vector<std::string> layers;
  if (const JsonValue* list = config.find("layers_to_transform")) {
    for (const JsonValue& item : list->items()) layers.push_back(item.number_text());
  }
  facts.add_list("layers_to_transform", layers, kSource);
}

}  // namespace mu
