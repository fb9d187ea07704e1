// SPDX-License-Identifier: Apache-2.0
// What a card is made of: named facts, each with its source, the loss curve of the run, and evaluations. The
// functions that write the card read nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mu {

// Lines that only card-gen writes begin so. No fact may hold it.
inline constexpr std::string_view kCardMark = "<!-- card-gen:";

struct Fact {
  std::string name;                 // "base_model"
  std::vector<std::string> values;  // one unless it is a list
  bool is_list = false, is_number = false;
  std::string source;  // "option --base", "config.json"
};

struct UsedHyperparameter {
  std::string name;
  std::string value;
  std::string fallback;  // the default of the library; empty if there is none
  bool differs = false;
};

struct CurvePoint {
  std::uint64_t step;
  std::optional<double> epoch;
  double value;  // NaN where the run logged none
};

// A number of the training that tells more than its loss, or beside it: the reward of GRPO, the accuracy of DPO.
struct MetricCurve {
  std::string metric, label;       // "rewards/accuracies", "accuracy"
  std::vector<CurvePoint> points;  // by step
};

// An evaluation during the run; `values` are in the order of CardFacts::eval_columns.
struct EvalRow {
  std::uint64_t step;
  std::optional<double> epoch;
  std::vector<std::optional<double>> values;
};

// A result from a file that was given with --eval, or that a trainer left in the folder.
struct EvalResult {
  std::string task, metric;  // "hellaswag", "acc,none"
  double value = 0;
  std::optional<double> error;
  std::string shots;
  bool is_benchmark = false;  // from an evaluation harness
  bool is_given = false;      // with --eval: goes into model-index
};

struct CardFacts {
  std::vector<Fact> facts;
  std::vector<UsedHyperparameter> hyperparameters;
  std::vector<CurvePoint> train_curve;    // the training loss, by step
  std::vector<MetricCurve> metrics;       // those worth showing, in their order
  bool metrics_first = false;             // they tell more than the loss
  std::vector<std::string> eval_columns;  // "eval_loss", of a named set "eval_math_loss"
  std::vector<std::string> eval_sets;     // "" for a set without a name
  std::vector<EvalRow> evaluations;       // by step
  std::optional<std::uint64_t> best_step;
  std::vector<EvalResult> results;
  std::vector<std::pair<std::string, std::string>> front_matter;  // --set KEY=VALUE
  std::vector<Fact> given;           // what options said, now or in an earlier run
  std::vector<std::string> notes;    // what the author should know
  std::vector<std::string> unknown;  // what could not be learned, with the reason

  [[nodiscard]] const Fact* find(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
  [[nodiscard]] std::string text(std::string_view name) const;  // empty if unknown
  [[nodiscard]] std::vector<std::string> list(std::string_view name) const;
  [[nodiscard]] std::optional<double> number(std::string_view name) const;

  // By the files of the folder, or by what options or the card say.
  [[nodiscard]] bool is_adapter() const;

  // The first source of a fact counts; later ones, and empty values, are ignored.
  void add(std::string_view name, std::string value, std::string_view source);
  void add_number(std::string_view name, double value, std::string_view source);
  void add_list(std::string_view name, std::vector<std::string> values, std::string_view source);
  void remove(std::string_view name);
};

// What the user said on the command line.
struct CardOptions {
  std::vector<std::string> base;
  std::optional<std::string> relation, name, repo, license, license_name, license_link, library, pipeline_tag,
      method;
  std::vector<std::string> datasets, languages, tags, set, library_versions, authors, eval_files;
  std::optional<std::string> wandb, comet, trackio, tensorboard, citation, source_revision;
  std::optional<std::string> base_folder;  // where the files of the base model are; default: the cache
  std::optional<std::string> run;          // the checkpoint or run that the training is known from
  // The name of the newest complete checkpoint of a run, or nothing; may be empty.
  std::function<std::string(const std::string& run)> newest_checkpoint{};
  std::string facts_json;  // a document of st-inspect --json
  bool hash_weights = false;
};

// Adds what the options say. Throws kUsage for invalid ids, unknown licences, languages and methods,
// addresses that are not https URLs, and control characters.
void add_options(CardFacts& facts, const CardOptions& options);

// Adds what a folder says. Files that can't be understood are noted in `unknown`. Throws kIo if it is not a
// folder, or something in it can't be read.
void add_folder(CardFacts& facts, const std::string& path, const CardOptions& options);

// Adds what the run that CardOptions::run names says about the training. Throws kIo if it is not there,
// kMalformed if it shows no training.
void add_named_run(CardFacts& facts, const CardOptions& options);

// Adds what the files of the base model say, in the folder that was named or in the local cache of the Hub:
// licence, task, and for an adapter the parameters of its base; from a named folder also the tags that its
// authors chose. Throws kMalformed and kIo.
void add_base_model(CardFacts& facts, const CardOptions& options, bool adapter);

// Adds what st-inspect --json or card-gen --json said. Throws kMalformed.
void add_inspection(CardFacts& facts, std::string_view json);

// Facts that follow from others: relation, library, tags, task, name.
void add_conclusions(CardFacts& facts);

}  // namespace mu
