// SPDX-License-Identifier: Apache-2.0
// The pieces of add_folder(): one function for each kind of file.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "card/facts.h"
#include "model/folder.h"
#include "model/trainer_state.h"
#include "model/training_args.h"
#include "weights/weights.h"

namespace mu {

// The base model that a name in a file means: an id, or the id inside a path of the Hugging Face or
// ModelScope cache; nullopt for any other name.
struct BaseName {
  std::string id, revision;
};
std::optional<BaseName> base_from_name(std::string_view name, const std::string& folder);
// The snapshot of a model in the local Hugging Face cache, or nullopt.
std::optional<std::string> cached_snapshot(std::string_view id);

// Adds what an existing card in the folder says and the files don't. Placeholders and paths are not facts.
void add_existing_card(CardFacts& facts, const std::string& path, const std::string& folder);
// Adds what options of earlier runs said, as the card at `path` remembers it.
void add_given(CardFacts& facts, const std::string& path);

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

}  // namespace mu
