// SPDX-License-Identifier: Apache-2.0
// What config.json, tokenizer and chat template say about a model.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "card/gather.h"
#include "os/file.h"

namespace mu {

std::string task_of(std::string_view architecture, const JsonValue& config) {
  struct Row {
    std::string_view suffix, task;
  };
  static constexpr Row kRows[] = {{"ForCausalLM", "text-generation"},
                                  {"LMHeadModel", "text-generation"},
                                  {"ForSequenceClassification", "text-classification"},
                                  {"ForTokenClassification", "token-classification"},
                                  {"ForQuestionAnswering", "question-answering"},
                                  {"ForMaskedLM", "fill-mask"},
                                  {"ForMultipleChoice", "multiple-choice"},
                                  {"ForImageClassification", "image-classification"},
                                  {"ForObjectDetection", "object-detection"},
                                  {"ForSemanticSegmentation", "image-segmentation"},
                                  {"ForDepthEstimation", "depth-estimation"},
                                  {"ForAudioClassification", "audio-classification"},
                                  {"ForCTC", "automatic-speech-recognition"}};
  for (const Row& row : kRows) {
    if (architecture.ends_with(row.suffix)) return std::string(row.task);
  }
  if (architecture.ends_with("ForConditionalGeneration")) {
    if (config.find("vision_config") != nullptr) return "image-text-to-text";
    if (architecture.starts_with("Whisper") || architecture.starts_with("Moonshine"))
      return "automatic-speech-recognition";
    return config.find("audio_config") != nullptr ? "audio-text-to-text" : "text-generation";
  }
  return architecture.ends_with("Model") ? "feature-extraction" : "";
}

namespace {

// The labels of a classifier, by number. Anything else in id2label is a default that nobody set.
std::vector<std::string> label_names(const JsonValue& config) {
  std::vector<std::pair<std::uint64_t, std::string>> numbered;
  const JsonValue* names = config.find("id2label");
  if (names == nullptr) return {};
  for (const JsonValue::Member& member : names->members()) {
    const std::string* name = member.value.as_string();
    if (name != nullptr && is_digits(member.key) && member.key.size() < 10)
      numbered.emplace_back(std::stoull(member.key), *name);
  }
  std::sort(numbered.begin(), numbered.end());
  std::vector<std::string> out;
  for (auto& [number, name] : numbered) out.push_back(std::move(name));
  return out;
}

}  // namespace

void add_config(CardFacts& facts, const JsonValue& config, const std::string& folder) {
  constexpr std::string_view kSource = "config.json";
  const std::vector<std::string> classes = texts_of(config.find("architectures"));
  if (!classes.empty()) {
    const std::string &name = classes.front(), task = task_of(name, config);
    facts.add("architecture", name, kSource);
    facts.add("pipeline_tag", task, "config.json architectures");
    const bool labelled =
        name.ends_with("Classification") || task == "image-segmentation" || task == "object-detection";
    const std::vector<std::string> labels = labelled ? label_names(config) : std::vector<std::string>();
    // A single one is a reward or a regression.
    if (labels.size() > 1) facts.add_list("label_names", labels, "config.json id2label");
  }
  const JsonValue* inner = config.find("text_config");
  for (const std::string_view key :
       {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "vocab_size", "max_position_embeddings"}) {
    std::optional<std::uint64_t> number = config.find_u64(key);
    if (!number && inner != nullptr) number = inner->find_u64(key);
    if (number) facts.add_number(key, static_cast<double>(*number), kSource);
  }
  const auto text = [&](std::string_view key, std::string_view fact) {
    if (const std::string* value = config.find_string(key)) facts.add(fact, *value, kSource);
  };
  const JsonValue* quantised = config.find("quantization_config");
  if (quantised == nullptr && inner != nullptr) quantised = inner->find("quantization_config");
  if (quantised != nullptr && quantised->is_object() && !facts.text("kind").starts_with("adapter")) {
    const std::string* method = quantised->find_string("quant_method");
    facts.add("quantization", method == nullptr ? "unknown" : *method, kSource);
  }
  text("model_type", "model_type");
  text("transformers_version", "version_Transformers");
  text("unsloth_version", "unsloth_version");
  if (config.find("auto_map") != nullptr) facts.add("custom_code", "true", kSource);
  if (const std::string* name = config.find_string("_name_or_path"))
    add_base(facts, *name, folder, "config.json _name_or_path");
}

void add_tokenizer(CardFacts& facts, const Folder& folder) {
  std::string chat, source;
  if (folder.has("tokenizer_config.json")) {
    source = "tokenizer_config.json";
    const JsonDocument document = parse_json(read_whole_file(folder.path_of(source), kMaxJson));
    const JsonValue& config = document.root;
    if (const std::string* name = config.find_string("tokenizer_class"))
      facts.add("tokenizer_class", *name, source);
    if (const JsonValue* length = config.find("model_max_length"); length != nullptr && length->as_double()) {
      // 1e30 means that it was not set.
      if (*length->as_double() < 1e9) facts.add_number("tokenizer_max_length", *length->as_double(), source);
    }
    for (const std::string_view key : {"bos_token", "eos_token", "pad_token"}) {
      if (const std::string* token = config.find_string(key)) facts.add(key, *token, source);
    }
    if (const JsonValue* found = config.find("chat_template")) {
      if (const std::string* text = found->as_string()) chat = *text;
      for (const JsonValue& item : found->items()) {
        if (const std::string* text = item.find_string("template"); text != nullptr && chat.empty())
          chat = *text;
      }
    }
  }
  if (folder.has("chat_template.jinja")) {
    source = "chat_template.jinja";
    chat = read_whole_file(folder.path_of(source), 16U << 20);
  }
  if (chat.empty()) return;
  facts.add("chat_template", "true", source);
  std::vector<std::string> roles, features, markers;
  for (const std::string_view role : {"system", "user", "assistant", "tool"}) {
    if (chat.find(fmt::format("'{}'", role)) != std::string::npos ||
        chat.find(fmt::format("\"{}\"", role)) != std::string::npos)
      roles.emplace_back(role);
  }
  facts.add_list("chat_roles", roles, source);
  if (chat.find("tools") != std::string::npos) features.emplace_back("tools");
  if (chat.find("enable_thinking") != std::string::npos || chat.find("<think>") != std::string::npos)
    features.emplace_back("thinking");
  if (chat.find("generation %}") != std::string::npos) features.emplace_back("generation mask");
  facts.add_list("chat_features", features, source);
  for (std::size_t at = chat.find("<|"); at != std::string::npos && markers.size() < 12;
       at = chat.find("<|", at + 2)) {
    const std::size_t end = chat.find("|>", at);
    if (end == std::string::npos || end - at > 40) continue;
    std::string marker = chat.substr(at, end + 2 - at);
    if (marker.find_first_of("'\" {") == std::string::npos &&
        std::find(markers.begin(), markers.end(), marker) == markers.end())
      markers.push_back(std::move(marker));
  }
  facts.add_list("chat_markers", markers, source);
  facts.add("chat_example", chat_example(chat, facts.text("bos_token"), facts.text("eos_token")), source);
}

}  // namespace mu
