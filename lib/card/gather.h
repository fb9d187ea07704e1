// SPDX-License-Identifier: Apache-2.0
// The pieces of add_folder(): one function for each kind of file.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "card/card_text.h"
#include "card/facts.h"
#include "model/folder.h"
#include "model/trainer_state.h"
#include "model/training_args.h"
#include "weights/weights.h"

namespace mu {

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

// A file that must hold a JSON object. Throws kMalformed and kIo, naming it.
JsonValue read_object(const Folder& folder, std::string_view name);

bool has_weights(const Folder& folder);
// The weights that stand for a folder, headers only. What is wrong with them is noted.
std::optional<Weights> open_weights_of(CardFacts& facts, const Folder& folder);

// The base model that a name in a file means: an id, or the id inside a path of the Hugging Face or
// ModelScope cache; nullopt for any other name.
struct BaseName {
  std::string id, revision;
};
std::optional<BaseName> base_from_name(std::string_view name, const std::string& folder);
// Adds the base model that a name in a file means, with its revision, unless one is known already. Returns whether one
// is known afterwards.
bool add_base(CardFacts& facts, std::string_view name, const std::string& folder, std::string_view source);

// Adds what an existing card in the folder says and the files don't. Placeholders and paths are not facts. Throws
// kMalformed.
void add_existing_card(CardFacts& facts, std::string text, const std::string& folder);
// Two halves of what the state of a card remembers: what options said earlier, and what was read from the run that
// --run named then.
void add_given(CardFacts& facts, const CardState& state);
void add_given_run(CardFacts& facts, const CardState& state);

// The task of a model of Transformers, by its class; empty for a class without one.
std::string task_of(std::string_view architecture, const JsonValue& config);
void add_config(CardFacts& facts, const JsonValue& config, const std::string& folder);
void add_tokenizer(CardFacts& facts, const Folder& folder);
// Which other library loads the folder, and what it needs: sentence-transformers, setfit, diffusers, timm.
// Their files are read, never run.
void add_library(CardFacts& facts, const Folder& folder);
// The same for a folder whose weights alone show it: a LoRA of a diffusion model.
void add_library_of_weights(CardFacts& facts, const Folder& folder, const Weights& weights);
// The sub-folder with the model of Transformers in it, for a folder of sentence-transformers; else empty.
std::string inner_model_folder(const Folder& folder);

// The checkpoint of a run that stands for it: the newest complete one, or if none is, the newest. Empty
// without checkpoints.
std::string checkpoint_of(const Folder& run, const CardOptions& options);
// Adds what a run says about the training: its state and arguments, from `folder` or from `checkpoint`, which
// may be the same, and the results in `folder`.
void add_run(CardFacts& facts, const Folder& folder, const Folder& checkpoint);
// Adds the date of SOURCE_DATE_EPOCH, or of the last log of a run.
void add_date(CardFacts& facts, const std::string& path);

void add_adapter_config(CardFacts& facts, const JsonValue& config, const std::string& folder);
// Adds the models of a merge. Throws kMalformed.
void add_merge_recipe(CardFacts& facts, std::string_view text, const std::string& folder);
// What a template makes of one question, if that can be read without running it: literals, the special
// tokens, role and content of each message, and the prompt for an answer. Empty for any other template.
std::string chat_example(std::string_view chat, std::string_view bos, std::string_view eos);
// Counts as the Hub does (huggingface.js, parse-safetensors-metadata.ts).
void add_parameters(CardFacts& facts, const Weights& weights, const JsonValue* config, bool adapter);
void add_training_arguments(CardFacts& facts, const TrainingArguments& arguments);
void add_trainer_state(CardFacts& facts, const TrainerState& state);
void add_evaluation_file(CardFacts& facts, std::string_view text, std::string_view file);
// Adds the metrics of a flat object that a trainer wrote, without what only keeps its books (epoch, times,
// counts, training loss). `given`: the file was named with --eval.
void add_trainer_results(CardFacts& facts, const JsonValue& results, bool given);

}  // namespace mu
