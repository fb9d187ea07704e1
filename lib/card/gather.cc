// SPDX-License-Identifier: Apache-2.0
// How a folder becomes facts. add_folder() first finds out what the folder is (a model, an adapter, a run
// with checkpoints) and which folder holds the model. Then it runs one reader for each kind of file, and the
// order is a ranking: the first source of a fact counts. The options have been added before; then come the
// options that an existing card remembers, the configs, the headers of the weights, the recipe of a merge,
// the state and arguments of the run, the text of the existing card, and the base model. Each reader runs on
// its own (try_to): a broken file costs its facts and leaves a note, and the card is made from the rest. Only
// a read error stops everything, since a card without the facts of an unreadable disk would be worse than
// none.

#include "card/gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "card/card_text.h"
#include "card/front_matter.h"
#include "card/tables.h"
#include "model/config.h"
#include "model/rank_state.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/digest.h"
#include "weights/open/open.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxJson =
    256U << 20;  // bytes: bounds memory; trainer_state.json of a very long run is the largest

// Runs one reader. What it can't read is noted, and the card is made from the rest.
template <typename Read>
void try_to(CardFacts& facts, std::string_view what, Read read) {
  try {
    read();
  } catch (const Error& error) {
    // A card without what a disk could not read today is worse than none.
    if (error.kind() == ErrorKind::kIo) throw;
    facts.unknown.push_back(fmt::format("{}: {}", what, error.what()));
  }
}

std::uint64_t checkpoint_number(std::string_view name) {
  std::uint64_t step = 0;
  const std::string_view digits = name.substr(name.rfind('-') + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), step);
  return step;
}

// The checkpoint with the largest step in a run, or nullopt.
std::optional<std::string> last_checkpoint(const Folder& folder) {
  const FolderFile* last = nullptr;
  for (const FolderFile& file : folder.files) {
    if (file.role != FileRole::kCheckpoint || !file.is_folder) continue;
    if (last == nullptr || checkpoint_number(file.name) > checkpoint_number(last->name)) last = &file;
  }
  if (last == nullptr) return std::nullopt;
  return last->name;
}

bool has_weights(const Folder& folder) {
  return std::any_of(folder.files.begin(), folder.files.end(), [](const FolderFile& file) {
    return !file.is_folder && (file.role == FileRole::kWeights || file.role == FileRole::kWeightsIndex ||
                               file.role == FileRole::kTorchWeights || file.role == FileRole::kOtherWeights);
  });
}

// The first GGUF file of a folder that holds no other weights, or an empty string.
std::string only_gguf(const Folder& folder) {
  std::string first;
  for (const FolderFile& file : folder.files) {
    if (file.role == FileRole::kWeights || file.role == FileRole::kTorchWeights) return "";
    if (first.empty() && file.name.ends_with(".gguf")) first = file.name;
  }
  return first;
}

std::optional<Weights> open_weights_of(CardFacts& facts, const Folder& folder) {
  std::optional<Weights> weights;
  try_to(facts, "parameters", [&] {
    if (!has_weights(folder)) {
      const std::optional<RankState> ranks = find_rank_state(folder.path);
      if (ranks) weights = open_rank_state(*ranks, "", false);
      if (ranks)
        facts.notes.emplace_back(
            "the weights are the partitions of the ranks of a run, which no library loads; st-pack puts them "
            "together");
      if (!ranks) throw malformed("no weights in this folder").in_file(escape_name(folder.path));
      return;
    }
    const WeightsChoice choice = choose_weights(folder);
    std::vector<std::string> paths;
    for (const std::string& name : choice.names) paths.push_back(folder.path_of(name));
    Weights opened = choice.is_index ? open_sharded(paths.front()) : open_files(paths);
    opened.findings.throw_if_unloadable();
    weights = std::move(opened);
  });
  return weights;
}

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

void add_config(CardFacts& facts, const JsonValue& config, const std::string& folder) {
  constexpr std::string_view kSource = "config.json";
  if (const JsonValue* list = config.find("architectures"); list != nullptr && !list->items().empty()) {
    if (const std::string* name = list->items().front().as_string()) {
      facts.add("architecture", *name, kSource);
      facts.add("pipeline_tag", task_of(*name, config), "config.json architectures");
    }
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
  if (const std::string* name = config.find_string("_name_or_path");
      name != nullptr && !facts.has("base_model")) {
    if (const std::optional<BaseName> base = base_from_name(*name, folder)) {
      facts.add("base_model", base->id, "config.json _name_or_path");
      facts.add("base_model_revision", base->revision, "config.json _name_or_path");
    }
  }
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

void add_processes(CardFacts& facts, const Folder& folder) {
  double count = 0;
  for (const FolderFile& file : folder.files) {
    if (file.name.starts_with("rng_state_") && file.name.ends_with(".pth")) ++count;
  }
  if (count == 0 && folder.has("rng_state.pth")) count = 1;
  if (count > 0) facts.add_number("processes", count, "the saved random states");
}

// The time when the run last logged: TensorBoard puts it into the names of its files.
void add_date(CardFacts& facts, const std::string& path) {
  if (const char* epoch = std::getenv("SOURCE_DATE_EPOCH"); epoch != nullptr && *epoch != '\0') {
    std::uint64_t seconds = 0;
    const std::string_view text = epoch;
    const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (parsed.ptr != text.data() + text.size()) throw usage("SOURCE_DATE_EPOCH is not a number of seconds");
    facts.add_number("date_epoch", static_cast<double>(seconds), "SOURCE_DATE_EPOCH");
    return;
  }
  double newest = 0;
  const std::string runs = join_path(path, "runs");
  if (!is_folder(runs)) return;
  for (const FolderEntry& run : list_folder(runs)) {
    if (run.kind != FolderEntry::Kind::kFolder || run.is_link) continue;
    for (const FolderEntry& file : list_folder(join_path(runs, run.name))) {
      constexpr std::string_view kStart = "events.out.tfevents.";
      if (!file.name.starts_with(kStart)) continue;
      std::uint64_t seconds = 0;
      std::from_chars(file.name.data() + kStart.size(), file.name.data() + file.name.size(), seconds);
      newest = std::max(newest, static_cast<double>(seconds));
    }
  }
  if (newest > 0) facts.add_number("date_epoch", newest, "the names of the run's TensorBoard logs");
}

void add_hashes(CardFacts& facts, const Weights& weights) {
  std::vector<std::string> lines;
  for (const WeightsFile& file : weights.files) {
    if (file.file)
      lines.push_back(
          fmt::format("{}  {}", file_hash(*file.file, [](std::uint64_t) {}), base_name(file.name)));
  }
  facts.add_list("sha256", lines, "the weights' bytes");
}

std::string folder_name(const std::string& path) {
  const std::string tidy = tidy_path(path);
  const std::string name(base_name(tidy));
  if (!name.starts_with("checkpoint-")) return name;
  const std::string above(base_name(tidy_path(join_path(tidy, ".."))));
  return above.empty() ? name : above;
}

// A folder of documents, or an empty one, is not of a model yet: nothing is claimed of what may come.
bool holds_model_files(const Folder& folder) {
  constexpr std::array kSilent = {FileRole::kDocument, FileRole::kCode, FileRole::kLog, FileRole::kHidden,
                                  FileRole::kOther};
  return std::any_of(folder.files.begin(), folder.files.end(), [&](const FolderFile& file) {
    return std::find(kSilent.begin(), kSilent.end(), file.role) == kSilent.end();
  });
}

// What the folder is, and the path of its model as seen from beside the folder.
void add_place(CardFacts& facts, const Folder& folder, bool adapter,
               const std::optional<std::string>& checkpoint, bool is_in_checkpoint) {
  std::string kind = adapter ? "adapter" : "model";
  if (folder.has("optimizer.pt") || folder.has("optimizer.bin")) kind += " checkpoint";
  if (checkpoint) kind += " run";
  if (checkpoint || holds_model_files(folder) || find_rank_state(folder.path))
    facts.add("kind", kind, "the folder's files");
  const std::string name = folder_name(folder.path);
  facts.add("folder_name", name, "the folder's name");
  const std::string own(base_name(tidy_path(folder.path)));
  if (own.starts_with("checkpoint-") && own != name)
    facts.add("model_path", name + "/" + own, "the folder's name");
  if (checkpoint && is_in_checkpoint) facts.add("model_path", name + "/" + *checkpoint, "the folder's files");
}

JsonValue read_object(const Folder& folder, std::string_view name) {
  return in_file(folder.path_of(name), [&] {
    JsonDocument document = parse_json(read_whole_file(folder.path_of(name), kMaxJson));
    if (!document.root.is_object()) throw malformed("not a JSON object");
    return std::move(document.root);
  });
}

void add_run(CardFacts& facts, const Folder& folder, const Folder& run) {
  add_processes(facts, run);
  const auto in_either = [&](std::string_view name) -> const Folder* {
    if (folder.has(name)) return &folder;
    return run.has(name) ? &run : nullptr;
  };
  if (const Folder* at = in_either("trainer_state.json"))
    try_to(facts, "training", [&] {
      add_trainer_state(facts,
                        parse_trainer_state(read_whole_file(at->path_of("trainer_state.json"), kMaxJson)));
    });
  if (const Folder* at = in_either("training_args.bin"))
    try_to(facts, "hyperparameters",
           [&] { add_training_arguments(facts, TrainingArguments::read(at->path_of("training_args.bin"))); });
  if (folder.has("all_results.json"))
    try_to(facts, "results", [&] {
      const JsonValue results = read_object(folder, "all_results.json");
      const auto take = [&](std::string_view key, std::string_view fact) {
        const JsonValue* value = results.find(key);
        if (value != nullptr && value->as_double())
          facts.add_number(fact, *value->as_double(), "all_results.json");
      };
      take("train_runtime", "train_runtime_seconds");
      take("train_loss", "mean_train_loss");
      take("train_samples_per_second", "train_samples_per_second");
      take("eval_loss", "last_eval_loss");
    });
}

CardFile read_base_card(const std::string& path) {
  return in_file(path, [&] { return read_card(read_whole_file(path, kMaxCardBytes)); });
}

void add_base_license(CardFacts& facts, const CardFile& card, std::string_view source) {
  if (const YamlValue* license = card.data.find("license"); license != nullptr && license_name(license->text))
    facts.add("license", license->text, source);
  for (const std::string_view key : {"license_name", "license_link"}) {
    const YamlValue* value = card.data.find(key);
    if (value != nullptr && value->is_string() && facts.text("license") == "other")
      facts.add(key, value->text, source);
  }
}

// Takes the tags that describe the model; tags with a colon say how the base itself was made.
void add_base_tags(CardFacts& facts, const CardFile& card, std::string_view source) {
  const YamlValue* value = card.data.find("tags");
  if (value == nullptr) return;
  std::vector<std::string> tags = facts.list("tags");
  for (const std::string& tag : value->texts()) {
    if (tag.find(':') == std::string::npos && trainer_by_tag(tag) == nullptr &&
        std::find(tags.begin(), tags.end(), tag) == tags.end())
      tags.push_back(tag);
  }
  std::erase_if(facts.facts, [](const Fact& fact) { return fact.name == "tags"; });
  facts.add_list("tags", tags, source);
}

void add_base_parameters(CardFacts& facts, const std::string& folder, std::string_view source) {
  const Folder base = scan_folder(folder);
  if (!has_weights(base)) return;
  CardFacts counted;
  const std::optional<Weights> weights = open_weights_of(counted, base);
  if (!weights) return;
  add_parameters(counted, *weights, nullptr, false);
  facts.add_number("base_parameters", counted.number("parameters").value_or(0), source);
}

}  // namespace

void add_base_model(CardFacts& facts, const CardOptions& options, bool adapter) {
  const std::optional<std::string> folder = options.base_folder ? options.base_folder
                                            : facts.list("base_model").size() == 1
                                                ? cached_snapshot(facts.text("base_model"))
                                                : std::nullopt;
  if (!folder) return;
  const std::string source = options.base_folder ? "option --base-from" : "the base model in the local cache";
  const std::string card_path = join_path(*folder, "README.md");
  if (exists(card_path)) {
    const CardFile card = read_base_card(card_path);
    add_base_license(facts, card, source);
    if (options.base_folder) add_base_tags(facts, card, source);
  }
  const std::string config_path = join_path(*folder, "config.json");
  if (!facts.has("pipeline_tag") && exists(config_path)) {
    const JsonDocument config = parse_json(read_whole_file(config_path, kMaxJson));
    const JsonValue* list = config.root.find("architectures");
    const std::string* name =
        list == nullptr || list->items().empty() ? nullptr : list->items().front().as_string();
    if (name != nullptr) facts.add("pipeline_tag", task_of(*name, config.root), source);
  }
  if (adapter) add_base_parameters(facts, *folder, source);
  // An option said it, and it is remembered as such.
  if (options.base_folder)
    std::copy_if(facts.facts.begin(), facts.facts.end(), std::back_inserter(facts.given),
                 [&](const Fact& fact) { return fact.source == source; });
}

void add_folder(CardFacts& facts, const std::string& path, const CardOptions& options) {
  const Folder folder = scan_folder(path);
  const std::optional<std::string> checkpoint = last_checkpoint(folder);
  const Folder run = checkpoint ? scan_folder(folder.path_of(*checkpoint)) : folder;
  const bool own_model =
      has_weights(folder) || folder.has("config.json") || folder.has("adapter_config.json");
  const Folder& model = own_model || !checkpoint ? folder : run;
  const bool adapter = model.has("adapter_config.json") && !model.has("model.safetensors") &&
                       !model.has("model.safetensors.index.json");
  add_place(facts, folder, adapter, checkpoint, &model == &run);

  if (folder.has("README.md"))
    try_to(facts, "the existing card", [&] { add_given(facts, folder.path_of("README.md")); });
  std::optional<JsonValue> config;
  if (adapter)
    try_to(facts, "adapter",
           [&] { add_adapter_config(facts, read_object(model, "adapter_config.json"), path); });
  // A run that saved weights in its own folder may have the config only in its checkpoints.
  const Folder& configured = model.has("config.json") ? model : run;
  if (configured.has("config.json"))
    try_to(facts, "architecture", [&] {
      config = read_object(configured, "config.json");
      add_config(facts, *config, path);
    });
  if (const std::optional<Weights> weights = open_weights_of(facts, model)) {
    add_parameters(facts, *weights, config ? &*config : nullptr, adapter);
    if (options.hash_weights) try_to(facts, "provenance", [&] { add_hashes(facts, *weights); });
  }
  constexpr std::string_view kRecipe = "mergekit_config.yml";
  if (model.has(kRecipe))
    try_to(facts, "merge",
           [&] { add_merge_recipe(facts, read_whole_file(model.path_of(kRecipe), kMaxCardBytes), path); });
  facts.add("gguf_file", only_gguf(model), "the folder's files");
  add_run(facts, folder, run);
  // Broken YAML is an error when the card is edited; here it is just one source less.
  if (folder.has("README.md"))
    try_to(facts, "the existing card", [&] { add_existing_card(facts, folder.path_of("README.md"), path); });
  if (options.base_folder) {
    add_base_model(facts, options, adapter);
  } else {
    try_to(facts, "the base model in the cache", [&] { add_base_model(facts, options, adapter); });
  }
  try_to(facts, "tokenizer", [&] { add_tokenizer(facts, model); });
  if (model.has("tokenizer.json") || model.has("tokenizer_config.json"))
    facts.add("has_tokenizer", "true", "the folder's files");
  add_date(facts, path);
  if (!facts.has("base_model"))
    facts.notes.emplace_back(
        "this folder does not show the base model, so the card names none; give --base OWNER/NAME");
}

}  // namespace mu
