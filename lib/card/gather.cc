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

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "card/card_text.h"
#include "card/front_matter.h"
#include "model/rank_state.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/digest.h"
#include "weights/open/open.h"

namespace mu {

JsonValue read_object(const Folder& folder, std::string_view name) {
  return in_file(folder.path_of(name), [&] {
    JsonDocument document = parse_json(read_whole_file(folder.path_of(name), kMaxJson));
    if (!document.root.is_object()) throw malformed("not a JSON object");
    return std::move(document.root);
  });
}

bool has_weights(const Folder& folder) {
  return std::any_of(folder.files.begin(), folder.files.end(), [](const FolderFile& file) {
    return !file.is_folder && (file.role == FileRole::kWeights || file.role == FileRole::kWeightsIndex ||
                               file.role == FileRole::kTorchWeights || file.role == FileRole::kOtherWeights);
  });
}

std::optional<Weights> open_weights_of(CardFacts& facts, const Folder& folder) {
  std::optional<Weights> weights;
  try_to(facts, "parameters", [&] {
    const std::optional<RankState> ranks =
        has_whole_weights(folder) ? std::nullopt : find_rank_state(folder.path);
    if (ranks) {
      weights = open_rank_state(*ranks, "", false);
      facts.notes.emplace_back(
          "the weights are the partitions of the ranks of a run, which no library loads; st-pack puts them "
          "together");
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

namespace {

// The first GGUF file of a folder that holds no other weights, or an empty string.
std::string only_gguf(const Folder& folder) {
  std::string first;
  for (const FolderFile& file : folder.files) {
    if (file.role == FileRole::kWeights || file.role == FileRole::kTorchWeights) return "";
    if (first.empty() && file.name.ends_with(".gguf")) first = file.name;
  }
  return first;
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

// Weights, config and the library that loads them. `inside` is where they lie, `run` may have the config of a
// run's own model.
void add_model(CardFacts& facts, const Folder& model, const Folder& inside, const Folder& run,
               const CardOptions& options, bool adapter, const std::string& path) {
  std::optional<JsonValue> config;
  if (adapter)
    try_to(facts, "adapter",
           [&] { add_adapter_config(facts, read_object(model, "adapter_config.json"), path); });
  try_to(facts, "library", [&] { add_library(facts, model); });
  // A run that saved weights in its own folder may have the config only in its checkpoints.
  const Folder& configured = inside.has("config.json") ? inside : run;
  if (configured.has("config.json"))
    try_to(facts, "architecture", [&] {
      config = read_object(configured, "config.json");
      add_config(facts, *config, path);
    });
  // The weights of a diffusion pipeline are in the folders of its components.
  const bool whole = has_weights(inside) || !facts.has("pipeline_class");
  if (const std::optional<Weights> weights = whole ? open_weights_of(facts, inside) : std::nullopt) {
    add_library_of_weights(facts, model, *weights);
    // The trainers that save by ranks train models of Transformers.
    if (!has_weights(inside))
      facts.add("library_name", adapter ? "peft" : "transformers", "the files of the ranks");
    // The config says how quantised weights are counted, and may say it wrongly.
    try_to(facts, "parameters", [&] {
      in_file(configured.path_of("config.json"), [&] {
        add_parameters(facts, *weights, config ? &*config : nullptr,
                       adapter || facts.text("kind").starts_with("adapter"));
      });
    });
    if (options.hash_weights) try_to(facts, "provenance", [&] { add_hashes(facts, *weights); });
  }
  constexpr std::string_view kRecipe = "mergekit_config.yml";
  if (model.has(kRecipe))
    try_to(facts, "merge",
           [&] { add_merge_recipe(facts, read_whole_file(model.path_of(kRecipe), kMaxCardBytes), path); });
  facts.add("gguf_file", only_gguf(model), "the folder's files");
}

// What no file of the folder says, and which option does.
void note_missing(CardFacts& facts, const CardState& state, const CardOptions& options) {
  if (!facts.has("base_model"))
    facts.notes.emplace_back(
        "this folder does not show the base model, so the card names none; give --base OWNER/NAME");
  const std::string library = facts.text("library_name");
  const bool trained = !facts.train_curve.empty() || !facts.hyperparameters.empty() ||
                       facts.has("global_step") || facts.has("merge_method") || facts.has("gguf_file");
  if (trained || options.run || library == "diffusers" || library == "timm" ||
      (!facts.has("parameters") && !facts.has("adapter_parameters")))
    return;
  if (state.find("region/training") != nullptr || state.find("region/hyperparameters") != nullptr) return;
  facts.notes.emplace_back(
      "this folder does not show how the model was trained; give the run or its checkpoint: --run "
      "CHECKPOINT");
}

}  // namespace

void add_folder(CardFacts& facts, const std::string& path, const CardOptions& options) {
  const Folder folder = scan_folder(path);
  const std::string newest = checkpoint_of(folder, options);
  const std::optional<std::string> checkpoint = newest.empty() ? std::nullopt : std::optional(newest);
  const Folder run = checkpoint ? scan_folder(folder.path_of(*checkpoint)) : folder;
  const bool own_model = has_weights(folder) || folder.has("config.json") ||
                         folder.has("adapter_config.json") || folder.has("model_index.json") ||
                         folder.has("modules.json");
  const Folder& model = own_model || !checkpoint ? folder : run;
  const bool adapter = model.has("adapter_config.json") && !model.has("model.safetensors") &&
                       !model.has("model.safetensors.index.json");
  add_place(facts, folder, adapter, checkpoint, &model == &run);
  std::optional<std::string> card;
  if (folder.has("README.md"))
    try_to(facts, "the existing card",
           [&] { card = read_whole_file(folder.path_of("README.md"), kMaxCardBytes); });
  const CardState state = parse_state(card.value_or(""));
  add_given(facts, state);
  const std::string inner = inner_model_folder(model);
  const Folder inside = inner.empty() ? model : scan_folder(model.path_of(inner));
  add_model(facts, model, inside, run, options, adapter, path);
  if (options.run) {
    add_named_run(facts, options);
  } else {
    add_given_run(facts, state);
    add_run(facts, folder, run);
  }
  // Broken YAML is an error when the card is edited; here it is just one source less.
  if (card) try_to(facts, "the existing card", [&] { add_existing_card(facts, std::move(*card), path); });
  if (options.base_folder) {
    add_base_model(facts, options, adapter);
  } else {
    try_to(facts, "the base model in the cache", [&] { add_base_model(facts, options, adapter); });
  }
  try_to(facts, "tokenizer", [&] { add_tokenizer(facts, inside); });
  if (inside.has("tokenizer.json") || inside.has("tokenizer_config.json"))
    facts.add("has_tokenizer", "true", "the folder's files");
  add_date(facts, path);
  note_missing(facts, state, options);
}

}  // namespace mu
