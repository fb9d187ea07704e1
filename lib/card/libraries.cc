// SPDX-License-Identifier: Apache-2.0
// Which library loads a folder, if that is not Transformers or PEFT, and what its files say: names of classes
// and numbers in JSON. model_head.pkl of SetFit and other pickles are never opened. Sources: sentence-transformers
// 6.2.0 (base/model.py, modules), setfit 1.2.0 (modeling.py), diffusers 0.42.1 (pipeline_utils.py,
// loaders/lora_base.py), timm 1.0.31 (models/_hub.py).
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "card/gather.h"
#include "card/tables.h"
#include "os/folder.h"

namespace mu {
namespace {

std::string text_of(const JsonValue& object, std::string_view key) {
  const std::string* text = object.find_string(key);
  return text == nullptr ? std::string() : *text;
}

// A module of sentence-transformers: what it is, and the folder of its settings.
struct Module {
  std::string type, path;
};

// The modules in their order. Paths that lead out of the folder, or deeper than one level, are left empty.
std::vector<Module> modules_of(const Folder& folder) {
  std::vector<Module> modules;
  if (!folder.has("modules.json")) return modules;
  const JsonDocument document = parse_json(read_whole_file(folder.path_of("modules.json"), kMaxJson));
  constexpr std::size_t kMostModules = 100;  // a model has some five
  for (const JsonValue& item : document.root.items()) {
    if (modules.size() == kMostModules) break;
    Module module{text_of(item, "type"), text_of(item, "path")};
    const FolderFile* found = folder.find(module.path);
    const bool plain = module.path.find_first_of("/\\") == std::string::npos && found != nullptr;
    if (!plain || !found->is_folder) module.path.clear();
    modules.push_back(std::move(module));
  }
  return modules;
}

// The settings of a module; nothing if it has none.
std::optional<JsonValue> settings_of(const Folder& folder, const Module& module) {
  const Folder inside = module.path.empty() ? folder : scan_folder(folder.path_of(module.path));
  if (module.path.empty() || !inside.has("config.json")) return std::nullopt;
  return read_object(inside, "config.json");
}

// How the vectors of the tokens become one: "mean", or "cls and max".
std::vector<std::string> pooling_modes(const JsonValue& settings) {
  if (const JsonValue* mode = settings.find("pooling_mode")) return texts_of(mode);
  std::vector<std::string> modes;
  for (const JsonValue::Member& member : settings.members()) {  // before 6.0: one flag a mode
    std::string_view name = member.key;
    constexpr std::string_view kStart = "pooling_mode_";
    if (!name.starts_with(kStart) || !settings.find_true(name)) continue;
    name.remove_prefix(kStart.size());
    if (const std::size_t end = name.rfind("_token"); end != std::string_view::npos)
      name = name.substr(0, end);
    modes.emplace_back(name);
  }
  return modes;
}

void add_pooling(CardFacts& facts, const JsonValue& settings) {
  constexpr std::string_view kSource = "the settings of the Pooling module";
  const std::vector<std::string> modes = pooling_modes(settings);
  facts.add_list("pooling", modes, kSource);
  std::optional<std::uint64_t> width = settings.find_u64("embedding_dimension");
  if (!width) width = settings.find_u64("word_embedding_dimension");
  if (width && *width < 1U << 24)
    facts.add_number("embedding_dimension",
                     static_cast<double>(*width * std::max<std::size_t>(modes.size(), 1)), kSource);
}

// A later module may change the width.
void add_width(CardFacts& facts, const JsonValue& settings) {
  const std::optional<std::uint64_t> width = settings.find_u64("out_features");
  if (!width) return;
  facts.remove("embedding_dimension");
  facts.add_number("embedding_dimension", static_cast<double>(*width), "the settings of the Dense module");
}

void add_sentence_settings(CardFacts& facts, const Folder& folder) {
  constexpr std::string_view kFile = "config_sentence_transformers.json";
  for (const FolderFile& file : folder.files) {  // sentence_bert_config.json, by the name of the model
    if (file.is_folder || !file.name.starts_with("sentence_") || !file.name.ends_with("_config.json"))
      continue;
    const std::optional<std::uint64_t> most = read_object(folder, file.name).find_u64("max_seq_length");
    if (most) facts.add_number("max_seq_length", static_cast<double>(*most), file.name);
  }
  if (!folder.has(kFile)) return;
  const JsonValue settings = read_object(folder, kFile);
  facts.add("sentence_class", text_of(settings, "model_type"), kFile);
  facts.add("similarity", text_of(settings, "similarity_fn_name"), kFile);
  facts.add("default_prompt", text_of(settings, "default_prompt_name"), kFile);
  std::vector<std::string> prompts;
  if (const JsonValue* list = settings.find("prompts")) {
    for (const JsonValue::Member& prompt : list->members()) {
      const std::string* text = prompt.value.as_string();
      if (text != nullptr && !text->empty()) prompts.push_back(prompt.key + ": " + *text);
    }
  }
  facts.add_list("prompts", prompts, kFile);
  const JsonValue* versions = settings.find("__version__");
  if (versions == nullptr) return;
  for (const auto& [key, name] :
       {std::pair("sentence_transformers", "Sentence Transformers"),
        std::pair("transformers", "Transformers"), std::pair("pytorch", "Pytorch")}) {
    facts.add(std::string("version_") + name, text_of(*versions, key), kFile);
  }
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// The class by the modules, for folders that were saved before it was written down.
std::string class_of(const std::vector<Module>& modules) {
  for (const Module& module : modules) {
    if (holds(module.type, "sparse_encoder") || holds(module.type, "Splade")) return "SparseEncoder";
    if (holds(module.type, "multi_vector_encoder")) return "MultiVectorEncoder";
    if (holds(module.type, "cross_encoder")) return "CrossEncoder";
  }
  return "SentenceTransformer";
}

void add_sentence_task(CardFacts& facts, std::size_t labels, std::string_view source) {
  const std::string of = facts.text("sentence_class");
  facts.add("pipeline_tag",
            of == "CrossEncoder"          ? labels == 1 ? "text-ranking" : "text-classification"
            : of == "SentenceTransformer" ? "sentence-similarity"
                                          : "feature-extraction",
            source);
}

// The number of labels of a classifier; Transformers assumes two.
std::size_t label_count(const Folder& folder) {
  if (!folder.has("config.json")) return 2;
  const JsonValue config = read_object(folder, "config.json");
  const JsonValue* names = config.find("id2label");
  return names == nullptr ? 2 : names->members().size();
}

void add_sentence_transformers(CardFacts& facts, const Folder& folder) {
  constexpr std::string_view kSource = "modules.json";
  const std::vector<Module> modules = modules_of(folder);
  facts.add("library_name", "sentence-transformers", kSource);
  add_sentence_settings(facts, folder);
  facts.add("sentence_class", class_of(modules), kSource);
  if (facts.text("sentence_class") == "ColBERT") {  // as PyLate wrote it
    facts.remove("sentence_class");
    facts.add("sentence_class", "MultiVectorEncoder", kSource);
  }
  for (const Module& module : modules) {
    if (!module.type.empty() && !module.type.starts_with("sentence_transformers."))
      facts.add("custom_code", "true", kSource);
    const std::string_view type = std::string_view(module.type).substr(module.type.rfind('.') + 1);
    if (type != "Pooling" && type != "Dense") continue;
    if (const std::optional<JsonValue> settings = settings_of(folder, module))
      type == "Pooling" ? add_pooling(facts, *settings) : add_width(facts, *settings);
  }
  const std::string inner = modules.empty() ? "" : modules.front().path;
  add_sentence_task(facts, label_count(inner.empty() ? folder : scan_folder(folder.path_of(inner))), kSource);
}

void add_setfit(CardFacts& facts, const Folder& folder) {
  constexpr std::string_view kSource = "the files of SetFit";
  facts.add("library_name", "setfit", kSource);
  facts.add("pipeline_tag", "text-classification", kSource);
  if (!folder.has("config_setfit.json")) return;
  constexpr std::string_view kSettings = "config_setfit.json";
  facts.add_list("label_names", texts_of(read_object(folder, kSettings).find("labels")), kSettings);
}

void add_diffusers(CardFacts& facts, const Folder& folder) {
  constexpr std::string_view kSource = "model_index.json";
  const JsonValue index = read_object(folder, kSource);
  const std::string of = text_of(index, "_class_name");
  facts.add("library_name", "diffusers", kSource);
  facts.add("pipeline_class", of.empty() ? "DiffusionPipeline" : of, kSource);
  facts.add("pipeline_tag", std::string(diffusers_task(of)), kSource);
  facts.add("version_Diffusers", text_of(index, "_diffusers_version"), kSource);
  if (const std::string name = text_of(index, "_name_or_path"); !name.empty()) {
    if (const std::optional<BaseName> base = base_from_name(name, folder.path))
      facts.add("base_model", base->id, "model_index.json _name_or_path");
  }
}

// A config of timm, or a model that its own library calls a cross-encoder.
void add_by_config(CardFacts& facts, const Folder& folder) {
  constexpr std::string_view kSource = "config.json";
  const JsonValue config = read_object(folder, kSource);
  const bool transformers = config.find("architectures") != nullptr || config.find("model_type") != nullptr;
  const JsonValue* own = config.find("sentence_transformers");
  if ((own != nullptr && own->is_object()) ||
      config.find("sbert_ce_default_activation_function") != nullptr) {
    facts.add("library_name", "sentence-transformers", kSource);
    facts.add("sentence_class", "CrossEncoder", kSource);
    if (own != nullptr) facts.add("version_Sentence Transformers", text_of(*own, "version"), kSource);
    add_sentence_task(facts, label_count(folder), kSource);
  }
  // A part of a pipeline of diffusers by itself, such as a ControlNet: what uses it is not known.
  if (!transformers && config.find("_diffusers_version") != nullptr) {
    facts.add("library_name", "diffusers", kSource);
    facts.add("version_Diffusers", text_of(config, "_diffusers_version"), kSource);
  }
  const std::string of = text_of(config, "architecture");
  const JsonValue* pretrained = config.find("pretrained_cfg");
  const bool timm =
      !of.empty() && !transformers &&
      ((pretrained != nullptr && pretrained->is_object()) || config.find("num_classes") != nullptr);
  if (!timm) return;
  facts.add("library_name", "timm", kSource);
  facts.add("architecture", of, kSource);
  std::optional<std::uint64_t> classes = config.find_u64("num_classes");
  if (!classes && pretrained != nullptr) classes = pretrained->find_u64("num_classes");
  const bool features = classes && *classes == 0;
  facts.add("pipeline_tag", features ? "image-feature-extraction" : "image-classification", kSource);
  const JsonValue* names = config.find("label_names");
  if (names == nullptr && pretrained != nullptr) names = pretrained->find("label_names");
  facts.add_list("label_names", texts_of(names), kSource);
}

constexpr std::array<std::string_view, 2> kLoraFiles = {"pytorch_lora_weights.safetensors",
                                                        "pytorch_lora_weights.bin"};

// The names that LoRA weights of a diffusion model have: of a component of a pipeline (diffusers), or with
// "lora_unet_" and "lora_te_" in front (kohya), or "diffusion_model." (ComfyUI).
bool is_diffusion_lora(std::string_view name) {
  if (!holds(name, "lora")) return false;
  for (const std::string_view start :
       {"unet.", "transformer.", "text_encoder.", "text_encoder_2.", "text_encoder_3.", "lora_unet_",
        "lora_te", "lora_transformer_", "diffusion_model."}) {
    if (name.starts_with(start)) return true;
  }
  return false;
}

void add_diffusers_lora(CardFacts& facts, std::string_view file) {
  const std::string source(file);
  facts.add("library_name", "diffusers", source);
  facts.add("lora_file", source, source);
  facts.remove("kind");
  facts.add("kind", "adapter", source);
}

}  // namespace

std::string inner_model_folder(const Folder& folder) {
  if (folder.has("config.json") || !folder.has("modules.json")) return "";
  try {
    const std::vector<Module> modules = modules_of(folder);
    return modules.empty() ? "" : modules.front().path;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kIo) throw;
    return "";  // noted when the library is looked at
  }
}

void add_library(CardFacts& facts, const Folder& folder) {
  if (folder.has("model_index.json")) return add_diffusers(facts, folder);
  if (folder.has("config_setfit.json") || folder.has("model_head.pkl")) add_setfit(facts, folder);
  if (folder.has("modules.json")) return add_sentence_transformers(facts, folder);
  if (folder.has("adapter_config.json")) return;
  if (folder.has("config.json")) return add_by_config(facts, folder);
  for (const std::string_view file : kLoraFiles) {
    if (folder.has(file)) return add_diffusers_lora(facts, file);
  }
}

void add_library_of_weights(CardFacts& facts, const Folder& folder, const Weights& weights) {
  if (facts.has("lora_file") || facts.has("pipeline_class") || folder.has("config.json") ||
      folder.has("adapter_config.json") || weights.files.size() != 1 || weights.tensors.empty())
    return;
  const auto count = std::count_if(weights.tensors.begin(), weights.tensors.end(),
                                   [](const Tensor& tensor) { return is_diffusion_lora(tensor.name); });
  if (static_cast<std::size_t>(count) == weights.tensors.size())
    add_diffusers_lora(facts, base_name(weights.files.front().name));
}

}  // namespace mu
