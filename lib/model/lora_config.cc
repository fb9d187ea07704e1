// SPDX-License-Identifier: Apache-2.0
// A config is read leniently in what does not change the deltas (unknown keys stay in `text`), and strictly in
// what does: a variant whose deltas are not B A is refused by name. What chooses modules by patterns is read by
// model/adapter_patterns.h. The writer lists the keys in order, one call each.
#include "model/lora_config.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

// Variants whose weights mean something other than B A, or whose base is not the published model.
constexpr std::array<std::string_view, 8> kVariants = {
    "alora_invocation_tokens", "arrow_config",     "kasa_config",
    "monteclora_config",       "use_bdlora",       "use_qalora",
    "velora_config",           "layer_replication"};

void refuse_variants(const JsonValue& root) {
  for (const std::string_view key : kVariants) {
    const JsonValue* value = root.find(key);
    if (value == nullptr || value->kind() == JsonValue::Kind::kNull || value->as_bool() == false) continue;
    if (value->is_object() && value->members().empty()) continue;
    throw malformed(fmt::format("{} is set: this variant of LoRA is not supported", key));
  }
}

// A whole number without a point, as PEFT writes it.
void write_number(JsonWriter& json, double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15)
    json.value(static_cast<std::int64_t>(value));
  else
    json.value(value);
}

void write_list(JsonWriter& json, std::string_view key, const std::vector<std::string>& values) {
  json.key(key);
  if (values.empty()) {
    json.null();
    return;
  }
  json.begin_array();
  for (const std::string& value : values) json.value(value);
  json.end_array();
}

void write_pattern(JsonWriter& json, std::string_view key, const ModulePatterns& patterns) {
  json.key(key).begin_object();
  for (const auto& [name, value] : patterns.entries()) {
    json.key(name);
    write_number(json, value);
  }
  json.end_object();
}

void write_text(JsonWriter& json, std::string_view key, const std::string& value) {
  json.key(key);
  if (value.empty())
    json.null();
  else
    json.value(value);
}

}  // namespace

const std::vector<std::uint64_t>* LoraConfig::tokens_of(std::string_view module) const {
  for (const auto& [key, ids] : trainable_tokens) {
    if (module.ends_with(key)) return &ids;  // _set_trainable in PEFT; all modules end with ""
  }
  return nullptr;
}

double LoraConfig::scale_of(std::string_view module) const {
  return lora_scale(alpha_of(module), rank_of(module), use_rslora);
}

double lora_scale(double alpha, double rank, bool use_rslora) {
  return alpha / (use_rslora ? std::sqrt(rank) : rank);
}

std::string_view saved_module(std::string_view module, std::string_view key) {
  for (std::size_t end = module.find('.');; end = module.find('.', end + 1)) {
    const std::string_view outer = module.substr(0, end);
    if (outer.ends_with(key)) return outer;
    if (end == std::string_view::npos) return {};
  }
}

LoraConfig parse_lora_config(std::string text) {
  const JsonDocument document = parse_json(text);
  const JsonValue& root = document.root;
  if (!root.is_object()) throw malformed("not a JSON object");
  const std::string* type = root.find_string("peft_type");
  if (type == nullptr || *type != "LORA")
    throw malformed(type == nullptr ? std::string("peft_type is missing")
                                    : fmt::format("the adapter is of type {}: only LORA is supported",
                                                  escape_name(*type)));
  refuse_variants(root);
  LoraConfig config;
  static_cast<AdapterPatterns&>(config) = parse_adapter_patterns(root);
  config.use_rslora = root.find_true("use_rslora");
  config.use_dora = root.find_true("use_dora");
  config.lora_bias = root.find_true("lora_bias");
  config.fan_in_fan_out = root.find_true("fan_in_fan_out");
  if (const std::string* bias = root.find_string("bias")) config.bias = *bias;
  config.target_modules = texts_of(root.find("target_modules"));
  config.modules_to_save = texts_of(root.find("modules_to_save"));
  if (const JsonValue* tokens = root.find("trainable_token_indices")) {
    const auto ids = [](const JsonValue& list) {
      std::vector<std::uint64_t> numbers;
      for (const JsonValue& item : list.items()) {
        const std::optional<std::uint64_t> id = item.as_u64();
        if (!id) throw malformed("trainable_token_indices holds something other than token ids");
        numbers.push_back(*id);
      }
      return numbers;
    };
    if (tokens->is_array()) config.trainable_tokens[""] = ids(*tokens);
    for (const JsonValue::Member& member : tokens->members())
      config.trainable_tokens[member.key] = ids(member.value);
  }
  if (const std::string* base = root.find_string("base_model_name_or_path")) config.base_model = *base;
  if (const std::string* task = root.find_string("task_type")) config.task_type = *task;
  if (const std::string* how = root.find_string("init_lora_weights")) {
    for (const std::string_view changing : {"pissa", "olora", "corda", "loftq", "lora_ga"}) {
      if (how->starts_with(changing)) config.initialisation = *how;
    }
  }
  config.text = std::move(text);
  return config;
}

std::string lora_config_text(const LoraConfig& config) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  write_pattern(json, "alpha_pattern", config.alpha_pattern);
  json.key("auto_mapping").null();
  write_text(json, "base_model_name_or_path", config.base_model);
  json.member("bias", config.bias);
  json.member("fan_in_fan_out", config.fan_in_fan_out);
  json.member("inference_mode", true);
  json.member("init_lora_weights", true);
  json.key("layers_pattern").null();
  json.key("layers_to_transform").null();
  json.key("lora_alpha");
  write_number(json, config.alpha);
  if (config.lora_bias) json.member("lora_bias", true);
  json.key("lora_dropout").raw("0.0");
  write_list(json, "modules_to_save", config.modules_to_save);
  json.member("peft_type", "LORA");
  json.member("r", config.rank);
  write_pattern(json, "rank_pattern", config.rank_pattern);
  json.key("revision").null();
  // An empty list: without a list PEFT takes the modules that it knows for the model.
  if (config.target_modules.empty() && !config.target_parameters.empty())
    json.key("target_modules").raw("[]");
  else
    write_list(json, "target_modules", config.target_modules);
  if (!config.target_parameters.empty()) write_list(json, "target_parameters", config.target_parameters);
  write_text(json, "task_type", config.task_type);
  if (config.use_dora) json.member("use_dora", true);
  if (config.use_rslora) json.member("use_rslora", true);
  json.end_object();
  return out;
}

}  // namespace mu
