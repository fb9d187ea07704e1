// SPDX-License-Identifier: Apache-2.0
// What a training run leaves in its folders. A run and its checkpoints may lie in the folder of the model, or
// elsewhere, where --run names them: packing leaves all of this behind. Small facts of such a run are
// remembered in the card, so that a later run of card-gen without --run still writes the same keys; the
// regions about the training stay as they are (update.cc).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <set>

#include "base/in_file.h"
#include "base/text.h"
#include "card/front_matter.h"
#include "card/gather.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

std::uint64_t checkpoint_number(std::string_view name) {
  std::uint64_t step = 0;
  const std::string_view digits = name.substr(name.rfind('-') + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), step);
  return step;
}

bool is_checkpoint(const FolderFile& file) {
  return file.is_folder && file.role == FileRole::kCheckpoint;
}

void add_processes(CardFacts& facts, const Folder& folder) {
  double count = 0;
  for (const FolderFile& file : folder.files) {
    if (file.name.starts_with("rng_state_") && file.name.ends_with(".pth")) ++count;
  }
  if (count == 0 && folder.has("rng_state.pth")) count = 1;
  if (count > 0) facts.add_number("processes", count, "the saved random states");
}

// The results that a trainer wrote at its end (Transformers' save_metrics).
void add_results(CardFacts& facts, const Folder& folder) {
  for (const std::string_view file : {"all_results.json", "eval_results.json", "test_results.json",
                                      "predict_results.json", "train_results.json"}) {
    if (!folder.has(file)) continue;
    try_to(facts, "results", [&] {
      const JsonValue results = read_object(folder, file);
      const auto take = [&](std::string_view key, std::string_view fact) {
        const JsonValue* value = results.find(key);
        if (value != nullptr && value->as_double()) facts.add_number(fact, *value->as_double(), file);
      };
      take("train_runtime", "train_runtime_seconds");
      take("train_loss", "mean_train_loss");
      take("train_samples_per_second", "train_samples_per_second");
      take("eval_loss", "last_eval_loss");
      add_trainer_results(facts, results, false);
    });
  }
}

bool shows_training(const Folder& folder) {
  return folder.has("trainer_state.json") || folder.has("training_args.bin") ||
         folder.has("all_results.json") || folder.has("train_results.json");
}

// What a later run of card-gen should know without the folder of the run. Counts and curves are not among
// them: only regions show those.
bool is_remembered(std::string_view name) {
  for (const std::string_view own :
       {"method", "trainer", "repo", "base_model", "base_model_revision", "license", "license_name",
        "license_link", "datasets", "language", "tags", "wandb", "comet", "trackio", "tensorboard"}) {
    if (name == own) return true;
  }
  return name.starts_with("version_");
}

// Adds the facts that `before` lacks to those that the card remembers, and the list of their names.
void remember(CardFacts& facts, const std::set<std::string>& before) {
  std::vector<std::string> names;
  for (const Fact& fact : facts.facts) {
    if (before.contains(fact.name) || !is_remembered(fact.name)) continue;
    names.push_back(fact.name);
    const bool given = std::any_of(facts.given.begin(), facts.given.end(),
                                   [&](const Fact& g) { return g.name == fact.name; });
    if (!given) facts.given.push_back(fact);
  }
  std::erase_if(facts.given, [](const Fact& fact) { return fact.name == "from_run"; });
  if (!names.empty()) facts.given.push_back({"from_run", std::move(names), true, false, "--run"});
}

// An adapter that was merged while packing still shows its base.
void add_base_of_run(CardFacts& facts, const Folder& checkpoint) {
  if (!checkpoint.has("adapter_config.json") || facts.has("base_model")) return;
  const JsonValue config = read_object(checkpoint, "adapter_config.json");
  if (const std::string* name = config.find_string("base_model_name_or_path"))
    add_base(facts, *name, checkpoint.path, "adapter_config.json of the run");
}

}  // namespace

std::string checkpoint_of(const Folder& run, const CardOptions& options) {
  const FolderFile* last = nullptr;
  for (const FolderFile& file : run.files) {
    if (!is_checkpoint(file)) continue;
    if (last == nullptr || checkpoint_number(file.name) > checkpoint_number(last->name)) last = &file;
  }
  if (last == nullptr) return "";
  const std::string complete = options.newest_checkpoint ? options.newest_checkpoint(run.path) : "";
  return complete.empty() ? last->name : complete;
}

void add_run(CardFacts& facts, const Folder& folder, const Folder& checkpoint) {
  add_processes(facts, checkpoint);
  const auto in_either = [&](std::string_view name) -> const Folder* {
    if (folder.has(name)) return &folder;
    return checkpoint.has(name) ? &checkpoint : nullptr;
  };
  if (const Folder* at = in_either("trainer_state.json"))
    try_to(facts, "training", [&] {
      add_trainer_state(facts,
                        parse_trainer_state(read_whole_file(at->path_of("trainer_state.json"), kMaxJson)));
    });
  if (const Folder* at = in_either("training_args.bin"))
    try_to(facts, "hyperparameters",
           [&] { add_training_arguments(facts, TrainingArguments::read(at->path_of("training_args.bin"))); });
  add_results(facts, folder);
}

void add_named_run(CardFacts& facts, const CardOptions& options) {
  const std::string& path = *options.run;
  const Folder named = in_file(path, [&] {
    if (exists(path) && !is_folder(path)) throw malformed("is a file, not the folder of a checkpoint or run");
    return scan_folder(path);
  });
  std::set<std::string> before;
  for (const Fact& fact : facts.facts) before.insert(fact.name);
  const std::string newest = checkpoint_of(named, options);
  const Folder checkpoint = newest.empty() ? named : scan_folder(named.path_of(newest));
  if (!newest.empty() && options.newest_checkpoint && options.newest_checkpoint(named.path).empty())
    facts.notes.push_back(
        fmt::format("no checkpoint in {} is complete; {} is the newest", escape_name(path), newest));
  if (!shows_training(named) && !shows_training(checkpoint))
    throw malformed("does not show a training: neither trainer_state.json nor training_args.bin is there")
        .in_file(escape_name(path))
        .hint("name a checkpoint folder, or the folder of the run");
  add_run(facts, named, checkpoint);
  try_to(facts, "the adapter of the run", [&] { add_base_of_run(facts, checkpoint); });
  // The trainer writes its card into the folder of the run.
  std::vector<std::string> folders = {named.path};
  if (base_name(tidy_path(path)).starts_with("checkpoint-"))
    folders.push_back(join_path(tidy_path(path), ".."));
  if (!newest.empty()) folders.push_back(checkpoint.path);
  for (const std::string& folder : folders) {
    const std::string card = join_path(folder, "README.md");
    if (is_in_reach(card) && exists(card))
      try_to(facts, "the card of the run",
             [&] { add_existing_card(facts, read_whole_file(card, kMaxCardBytes), folder); });
  }
  add_date(facts, folders.size() > 1 && newest.empty() ? folders.back() : named.path);
  remember(facts, before);
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

}  // namespace mu
