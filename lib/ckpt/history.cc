// SPDX-License-Identifier: Apache-2.0
#include "ckpt/history.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/text.h"
#include "ckpt/state_file.h"
#include "model/training_args.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

std::optional<InputFile> open_if_there(const RunFolder& folder, const std::string& name) {
  Fd fd(::openat(folder.fd.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return std::nullopt;
  return InputFile::adopt(std::move(fd), join_path(folder.path, name));
}

std::string with_eval(std::string_view name) {
  return name.starts_with("eval_") ? std::string(name) : "eval_" + std::string(name);
}

bool contains_any(std::string_view name, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [name](std::string_view word) { return name.find(word) != std::string_view::npos; });
}

std::optional<bool> lower_by_name(std::string_view name) {
  if (name.ends_with("loss") ||
      contains_any(name, {"perplexity", "ppl", "error", "_wer", "_cer", "_mse", "_mae", "rmse"}))
    return true;
  if (contains_any(name, {"accuracy", "_acc", "f1", "bleu", "rouge", "reward", "precision", "recall", "auc",
                          "exact_match", "meteor"}))
    return false;
  return std::nullopt;
}

// The whole state of the newest sound checkpoint. What the cheap look at it let pass and parsing does not is
// torn after all: everything else is measured by the one that stays.
std::optional<TrainerState> newest_state(const RunFolder& folder, RunFacts& run,
                                         const CheckpointFacts*& owner) {
  for (auto checkpoint = run.checkpoints.rbegin(); checkpoint != run.checkpoints.rend(); ++checkpoint) {
    if (!checkpoint->is_complete() || !checkpoint->state) continue;
    try {
      std::optional<InputFile> file = open_if_there(folder, checkpoint->name + "/trainer_state.json");
      if (!file) continue;
      TrainerState state = read_state(*file);
      owner = &*checkpoint;
      return state;
    } catch (const Error& error) {
      checkpoint->condition =
          error.kind() == ErrorKind::kMalformed ? Condition::kTorn : Condition::kUnreadable;
      checkpoint->why = "trainer_state.json: " + error.message();
    }
  }
  return std::nullopt;
}

std::optional<TrainerState> state_of_run(const RunFolder& folder, RunFacts& run) {
  try {
    const std::optional<InputFile> file = open_if_there(folder, "trainer_state.json");
    if (file) return read_state(*file);
  } catch (const Error& error) {
    run.warnings.push_back("trainer_state.json of the run is not used: " + error.message());
  }
  return std::nullopt;
}

RankingArguments arguments_of(const RunFolder& folder, RunFacts& run, const CheckpointFacts* owner) {
  for (const std::string& name : {owner == nullptr ? std::string() : owner->name + "/training_args.bin",
                                  std::string("training_args.bin")}) {
    try {
      std::optional<InputFile> file = name.empty() ? std::nullopt : open_if_there(folder, name);
      if (!file) continue;
      const TrainingArguments arguments = TrainingArguments::read(std::move(*file));
      return {arguments.text("metric_for_best_model"), arguments.flag("greater_is_better")};
    } catch (const Error& error) {
      run.warnings.push_back(name + " is not used: " + error.message());
    }
  }
  return {};
}

// Copies a metric into the run's own list of names.
class Names {
 public:
  explicit Names(std::vector<std::string>& names) : names_(names) {
    for (std::uint32_t i = 0; i < names.size(); ++i) ids_.emplace(names[i], i);
  }
  std::uint32_t id(const std::string& name) {
    const auto [found, fresh] = ids_.try_emplace(name, static_cast<std::uint32_t>(names_.size()));
    if (fresh) names_.push_back(name);
    return found->second;
  }

 private:
  std::vector<std::string>& names_;
  std::unordered_map<std::string, std::uint32_t> ids_;
};

// Of equal names the later counts: a run that was resumed logs steps again.
void take_entry(const TrainerState& state, const TrainerLogEntry& entry, Names& names,
                CheckpointFacts& checkpoint) {
  if (!checkpoint.epoch) checkpoint.epoch = entry.epoch;
  for (const TrainerMetric& metric : entry.metrics) {
    const std::uint32_t id = names.id(state.metric_names[metric.name]);
    const auto found = std::find_if(checkpoint.metrics.begin(), checkpoint.metrics.end(),
                                    [id](const TrainerMetric& m) { return m.name == id; });
    if (found == checkpoint.metrics.end())
      checkpoint.metrics.push_back({id, metric.value});
    else
      found->value = metric.value;
  }
}

// A checkpoint written after the newest by number belongs to another, later run in the same folder: its own
// log is right about its step.
void take_own_log(const RunFolder& folder, Names& names, CheckpointFacts& checkpoint) {
  try {
    const std::optional<InputFile> file = open_if_there(folder, checkpoint.name + "/trainer_state.json");
    if (!file) return;
    const TrainerState state = read_state(*file);
    for (const TrainerLogEntry& entry : state.log_history) {
      if (entry.step == checkpoint.number) take_entry(state, entry, names, checkpoint);
    }
  } catch (const Error& error) {
    checkpoint.condition = error.kind() == ErrorKind::kMalformed ? Condition::kTorn : Condition::kUnreadable;
    checkpoint.why = "trainer_state.json: " + error.message();
  }
}

// Metrics that names of files carry: "epoch=3-step=1500-val_loss=0.25.ckpt".
void take_from_name(Names& names, CheckpointFacts& checkpoint) {
  const std::string_view name = checkpoint.name;
  for (std::size_t equals = name.find('='); equals != std::string_view::npos;
       equals = name.find('=', equals + 1)) {
    std::size_t begin = equals;
    while (begin > 0 && (std::isalnum(static_cast<unsigned char>(name[begin - 1])) != 0 ||
                         name[begin - 1] == '_' || name[begin - 1] == '/'))
      --begin;
    const std::string value(name.substr(equals + 1, 40));
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (begin == equals || end == value.c_str()) continue;
    checkpoint.metrics.push_back({names.id(std::string(name.substr(begin, equals - begin))), number});
  }
}

void take_log(const RunFolder& folder, const TrainerState& state, const CheckpointFacts& owner, Names& names,
              RunFacts& run) {
  std::unordered_map<std::uint64_t, CheckpointFacts*> by_step;
  std::vector<std::string> later;
  for (CheckpointFacts& checkpoint : run.checkpoints) {
    const bool is_later = checkpoint.state && checkpoint.state->mtime_ns > owner.state->mtime_ns + kSecond;
    if (is_later && checkpoint.is_complete()) {
      later.push_back(checkpoint.name);
      take_own_log(folder, names, checkpoint);
    } else if (checkpoint.number) {
      by_step.emplace(*checkpoint.number, &checkpoint);
    }
  }
  for (const TrainerLogEntry& entry : state.log_history) {
    const auto found = entry.step ? by_step.find(*entry.step) : by_step.end();
    if (found != by_step.end()) take_entry(state, entry, names, *found->second);
  }
  if (!later.empty())
    run.warnings.push_back(fmt::format(
        "{} of lower step {} written after {}: two runs in one folder, or times that were lost in copying",
        later.size() == 1 ? later.front() : plural(later.size(), "checkpoint"),
        later.size() == 1 ? "was" : "were", owner.name));
}

}  // namespace

RankingMetric choose_metric(const MetricWish& wish, const RankingArguments& arguments,
                            const std::vector<std::string>& logged) {
  const std::string wanted = wish.name ? *wish.name : arguments.metric ? *arguments.metric : "eval_loss";
  const auto is_logged = [&logged](const std::string& name) {
    return std::find(logged.begin(), logged.end(), name) != logged.end();
  };
  RankingMetric metric;
  metric.name = is_logged(with_eval(wanted)) || !is_logged(wanted) ? with_eval(wanted) : wanted;
  if (wish.lower_is_better)
    metric.lower_is_better = wish.lower_is_better;
  else if (arguments.metric && with_eval(*arguments.metric) == with_eval(wanted) &&
           arguments.greater_is_better)
    metric.lower_is_better = !*arguments.greater_is_better;
  else
    metric.lower_is_better = lower_by_name(metric.name);
  return metric;
}

void read_history(const RunFolder& folder, const MetricWish& wish, RunFacts& run) {
  Names names(run.metric_names);
  const CheckpointFacts* owner = nullptr;
  std::optional<TrainerState> state = newest_state(folder, run, owner);
  if (run.is_by_pattern) {
    for (CheckpointFacts& checkpoint : run.checkpoints) take_from_name(names, checkpoint);
  }
  if (state) {
    std::optional<TrainerState> whole = state_of_run(folder, run);
    if (whole && whole->global_step.value_or(0) > state->global_step.value_or(0)) state = std::move(whole);
    run.best = base_name(state->best_model_checkpoint);
    run.best_metric = state->best_metric;
    run.save_steps = state->save_steps;
    take_log(folder, *state, *owner, names, run);
  }
  std::vector<std::string> logged = run.metric_names;
  if (state) logged.insert(logged.end(), state->metric_names.begin(), state->metric_names.end());
  run.metric = choose_metric(wish, arguments_of(folder, run, owner), logged);
  const std::optional<std::uint32_t> id = state ? state->metric_id(run.metric.name) : std::nullopt;
  if (!id) return;
  for (const TrainerLogEntry& entry : state->log_history) {
    for (const TrainerMetric& metric : entry.metrics) {
      if (metric.name == *id && entry.step) run.metric_series.emplace_back(*entry.step, metric.value);
    }
  }
}

}  // namespace mu
