// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

JsonValue parse_object(std::string_view text) {
  JsonDocument document = parse_json(text);
  if (!document.root.is_object()) throw malformed("not a JSON object");
  return std::move(document.root);
}

std::string string_or_empty(const JsonValue& object, std::string_view key) {
  const std::string* text = object.find_string(key);
  return text == nullptr ? std::string() : *text;
}

std::optional<double> number_of(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  return value == nullptr ? std::nullopt : value->as_double();
}

bool is_float_name(const std::string& text) {
  constexpr std::array<std::string_view, 6> kNames = {"float32", "float16",       "bfloat16",
                                                      "float64", "float8_e4m3fn", "float8_e5m2"};
  return std::find(kNames.begin(), kNames.end(), text) != kNames.end();
}

void collect_dtypes(const JsonValue& object, std::vector<const JsonValue*>& out) {
  for (const JsonValue::Member& member : object.members()) {
    const std::string* text = member.value.as_string();
    const bool is_dtype = member.key == "dtype" || member.key == "torch_dtype";
    if (is_dtype && text != nullptr && is_float_name(*text)) out.push_back(&member.value);
    // Sub-configs ("text_config", "encoder"), but not the quantiser's own settings.
    const bool is_config =
        member.key.ends_with("_config") || member.value.find_string("model_type") != nullptr;
    if (member.value.is_object() && is_config && member.key != "quantization_config" &&
        member.key != "compression_config") {
      collect_dtypes(member.value, out);
    }
  }
}

void add_module_file(std::string_view target, std::vector<std::string>& out) {
  const std::size_t dot = target.find('.');
  if (dot == std::string_view::npos || target.find("--") != std::string_view::npos) return;
  std::string file = std::string(target.substr(0, dot)) + ".py";
  if (std::find(out.begin(), out.end(), file) == out.end()) out.push_back(std::move(file));
}

}  // namespace

const std::string* ModelConfig::dtype() const {
  const std::string* name = root.find_string("dtype");
  return name == nullptr ? root.find_string("torch_dtype") : name;
}

ModelConfig parse_model_config(std::string text) {
  ModelConfig config;
  config.root = parse_object(text);
  config.text = std::move(text);
  config.architectures = texts_of(config.root.find("architectures"));
  config.model_type = string_or_empty(config.root, "model_type");
  if (const JsonValue* tie = config.root.find("tie_word_embeddings"))
    config.tie_word_embeddings = tie->as_bool();
  return config;
}

std::vector<std::string> stated_dtypes(const ModelConfig& config) {
  std::vector<const JsonValue*> places;
  collect_dtypes(config.root, places);
  std::vector<std::string> names;
  if (const std::string* top = config.dtype(); top != nullptr && is_float_name(*top)) names.push_back(*top);
  for (const JsonValue* place : places) names.push_back(*place->as_string());
  return names;
}

std::string with_dtype(const ModelConfig& config, std::string_view torch_name) {
  std::vector<const JsonValue*> places;
  collect_dtypes(config.root, places);
  // From the end, so that earlier offsets stay true.
  std::sort(places.begin(), places.end(),
            [](const JsonValue* a, const JsonValue* b) { return a->begin() > b->begin(); });
  std::string quoted;
  append_json_string(quoted, torch_name);
  std::string text = config.text;
  for (const JsonValue* place : places) text = replace_json(text, *place, quoted);
  return text;
}

std::string with_config_edits(std::string text, const std::vector<ConfigEdit>& edits) {
  for (const ConfigEdit& edit : edits) {
    const JsonDocument document = parse_json(text);
    const JsonValue* place = &document.root;
    for (std::size_t i = 0; i + 1 < edit.path.size() && place != nullptr; ++i)
      place = place->find(edit.path[i]);
    if (place == nullptr || !place->is_object() || edit.path.empty()) continue;
    if (!edit.json) {
      text = without_json_key(text, *place, edit.path.back());
      continue;
    }
    if (const JsonValue* const old = place->find(edit.path.back())) {
      text = replace_json(text, *old, *edit.json);
      continue;
    }
    std::string key;
    append_json_string(key, edit.path.back());
    const std::string indent(2 * edit.path.size(), ' ');
    const std::string end = place->members().empty() ? "\n" + indent.substr(2) : ",";
    text.insert(place->begin() + 1, fmt::format("\n{}{}: {}{}", indent, key, *edit.json, end));
  }
  return text;
}

std::vector<std::string> auto_map_files(const JsonValue& root) {
  std::vector<std::string> files;
  const JsonValue* map = root.find("auto_map");
  if (map == nullptr) return files;
  // A tokenizer's auto_map was a plain list once.
  for (const std::string& target : texts_of(map)) add_module_file(target, files);
  for (const JsonValue::Member& member : map->members()) {
    for (const std::string& target : texts_of(&member.value)) add_module_file(target, files);
  }
  return files;
}

AdapterConfig parse_adapter_config(std::string_view text) {
  const JsonValue root = parse_object(text);
  AdapterConfig config;
  config.peft_type = string_or_empty(root, "peft_type");
  config.base_model = string_or_empty(root, "base_model_name_or_path");
  config.rank = root.find_u64("r");
  if (config.peft_type == "LORA") {
    try {
      config.patterns = parse_adapter_patterns(root);
    } catch (const Error& error) {
      config.fault = error.message();
    }
  }
  config.alpha = number_of(root, "lora_alpha");
  config.target_modules = texts_of(root.find("target_modules"));
  config.bias = string_or_empty(root, "bias");
  return config;
}

}  // namespace mu
