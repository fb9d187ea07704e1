// SPDX-License-Identifier: Apache-2.0
// The identifiers that the Hub and the libraries know, from the text files in data/: licences, languages,
// tasks, TRL's trainers, and the training arguments worth reporting.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

namespace card_data {
extern const std::string_view licenses, base_licenses, languages, pipeline_tags, template_hints, trainers,
    hyperparameters, diffusers_tasks;
}

// The name of a licence that the Hub knows; nullopt for any other identifier. Matching is exact.
std::optional<std::string_view> license_name(std::string_view id);
// The licence that the family of a base model has ("meta-llama/Llama-3.1-8B" -> "llama3.1"); nullopt for
// families without an identifier of their own.
std::optional<std::string_view> family_license(std::string_view base_model);
bool is_language(std::string_view code);
bool is_pipeline_tag(std::string_view tag);

// The task of a pipeline of diffusers, by its class; empty if that does not tell.
std::string_view diffusers_task(std::string_view pipeline_class);

// The identifier that somebody probably meant: "Apache-2.0" -> "apache-2.0", "english" -> "en", "zh-CN" ->
// "zh".
std::optional<std::string> suggest_license(std::string_view text);
std::optional<std::string> suggest_language(std::string_view text);

// For a valid code that is rarely meant: the code that usually is. "kr" is Kanuri; Korean is "ko".
std::optional<std::string_view> doubted_language(std::string_view code);

// Whether a comment is one of the hints in huggingface_hub's template, by short_hash() of its text.
bool is_template_hint(std::string_view hash);

struct Trainer {
  std::string_view config;  // class without "Config": "SFT"
  std::string_view tag, name;
  // About its paper, empty if it has none: the id on arXiv (or the address of a page), title, key of its
  // entry in a bibliography, year, authors joined by " and ".
  std::string_view paper, title, key, year, authors;
};
const Trainer* trainer_by_tag(std::string_view tag);
const Trainer* trainer_by_config(std::string_view config);
std::string trainer_tags();  // "sft, dpo, …", for messages

struct Hyperparameter {
  std::string_view name, fallback, trl_fallback;  // defaults; empty if there is none
  std::string_view exceptions;                    // "DPO=1e-06 GRPO=1e-06": defaults of single classes of TRL

  // By the stem of TRL's class ("DPO"); empty for Transformers' own arguments.
  [[nodiscard]] std::string_view default_of(std::string_view config) const;
};
const std::vector<Hyperparameter>& hyperparameters();

// How a model may relate to its base: adapter, merge, quantized, finetune.
bool is_relation(std::string_view word);

// Letters, digits and underscores, as names of classes and arguments have.
bool is_plain_name(std::string_view text);

// True for an address that can stand in a link.
bool is_https(std::string_view url);

// True for text that is a place on a disk: absolute, relative with dots, home, drive letters, backslashes.
bool is_local_path(std::string_view text);

// True for text that ends as files of data do ("data/train.jsonl"), though the Hub takes it for an id.
bool is_data_file(std::string_view text);

}  // namespace mu
