// SPDX-License-Identifier: Apache-2.0
// How the logs are read. Every trainer_state.json holds the whole log up to its step, so reading all of them
// would take time quadratic in the number of checkpoints. Instead find_lineages() separates the runs and
// reads only the longest log of each; every checkpoint takes its metrics from the entries of its step in the
// log of its own run. A state in the run folder itself (the Trainer writes one at the end) replaces the log
// of the last run if it continues it. Names of files can carry metrics too. The metric to rank by is chosen
// last, when it is known which metrics were logged.

#include "ckpt/history.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/text.h"
#include "ckpt/lineage.h"
#include "ckpt/log_mark.h"
#include "ckpt/state_file.h"
#include "model/training_args.h"
#include "os/folder.h"

namespace mu {
namespace {

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

// The whole state of a checkpoint. If it does not parse, although the cheap look at its ends found no fault,
// the checkpoint is torn after all: others would be measured by it.
std::optional<TrainerState> state_of(const RunFolder& folder, CheckpointFacts& checkpoint) {
  try {
    const std::optional<InputFile> file = open_if_there(folder, checkpoint.name + "/trainer_state.json");
    if (file) return read_state(*file);
  } catch (const Error& error) {
    checkpoint.condition = error.kind() == ErrorKind::kMalformed ? Condition::kTorn : Condition::kUnreadable;
    checkpoint.why = "trainer_state.json: " + error.message();
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

// The run's own list of metric names; gives each name its number.
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

// Of equal names the later one counts: a resumed run logs some steps again.
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

// Metrics in names of files: "epoch=3-step=1500-val_loss=0.25.ckpt".
void take_from_name(Names& names, CheckpointFacts& checkpoint) {
  const std::string_view name = checkpoint.name;
  for (std::size_t equals = name.find('='); equals != std::string_view::npos;
       equals = name.find('=', equals + 1)) {
    std::size_t begin = equals;
    while (begin > 0 && (std::isalnum(static_cast<unsigned char>(name[begin - 1])) != 0 ||
                         name[begin - 1] == '_' || name[begin - 1] == '/'))
      --begin;
    const std::string value(name.substr(equals + 1, 40));  // no number is written longer
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (begin == equals || end == value.c_str()) continue;
    checkpoint.metrics.push_back({names.id(std::string(name.substr(begin, equals - begin))), number});
  }
}

// Takes the metrics of each checkpoint from the longest log of its own run, or of the run saved last if its
// own log does not show which run it belongs to.
void take_logs(const std::vector<Lineage>& lineages, Names& names, RunFacts& run) {
  std::map<std::pair<std::size_t, std::uint64_t>, std::vector<CheckpointFacts*>> by_step;
  for (CheckpointFacts& checkpoint : run.checkpoints) {
    if (checkpoint.number)
      by_step[{checkpoint.lineage.value_or(0), *checkpoint.number}].push_back(&checkpoint);
  }
  for (std::size_t k = 0; k < lineages.size(); ++k) {
    for (const TrainerLogEntry& entry : lineages[k].state.log_history) {
      const auto found = entry.step ? by_step.find({k, *entry.step}) : by_step.end();
      if (found == by_step.end()) continue;
      for (CheckpointFacts* const checkpoint : found->second)
        take_entry(lineages[k].state, entry, names, *checkpoint);
    }
  }
}

// Whether the state in the run folder goes on from the log of the run saved last, and so is the newest of
// all.
bool continues(const TrainerState& whole, const std::vector<Lineage>& lineages) {
  const TrainerState& last = lineages.front().state;
  if (whole.global_step.value_or(0) <= last.global_step.value_or(0)) return false;
  if (lineages.size() == 1) return true;
  const std::vector<std::uint64_t> beginnings = hash_log(whole).beginnings;
  return std::find(beginnings.begin(), beginnings.end(), mark_log(last).all) != beginnings.end();
}

bool is_evaluation(const std::string& name) {
  return name.starts_with("eval_");
}

void warn_of_other_runs(const std::vector<Lineage>& lineages, RunFacts& run) {
  if (lineages.size() < 2) return;
  const auto count = std::count_if(run.checkpoints.begin(), run.checkpoints.end(),
                                   [](const CheckpointFacts& c) { return c.lineage.value_or(0) > 0; });
  run.warnings.push_back(fmt::format(
      "{} runs in one folder: the log of {} shows that it belongs to another run than {}, which was saved "
      "last ({} of {})",
      lineages.size(), run.checkpoints[lineages[1].newest].name,
      run.checkpoints[lineages.front().newest].name, plural(static_cast<std::uint64_t>(count), "checkpoint"),
      lineages.size() == 2 ? "that run" : "such runs"));
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
  metric.is_given = wish.name.has_value();
  metric.is_logged = is_logged(metric.name);
  if (wish.lower_is_better)
    metric.lower_is_better = wish.lower_is_better;
  else if (arguments.metric && with_eval(*arguments.metric) == with_eval(wanted) &&
           arguments.greater_is_better)
    metric.lower_is_better = !*arguments.greater_is_better;
  else
    metric.lower_is_better = lower_by_name(metric.name);
  return metric;
}

std::string best_name(const TrainerState& state, const std::vector<CheckpointFacts>& checkpoints) {
  const auto is_here = [&checkpoints](const auto& fits) {
    return std::find_if(checkpoints.begin(), checkpoints.end(), fits);
  };
  std::string_view path = state.best_model_checkpoint;
  if (is_here([&](const CheckpointFacts& c) { return c.name == base_name(path); }) != checkpoints.end())
    return std::string(base_name(path));
  std::string last;  // the last component that is a name at all
  while (!path.empty()) {
    const std::size_t slash = path.find_last_of("/\\");
    std::string_view part = trim(slash == std::string_view::npos ? path : path.substr(slash + 1));
    if (part.size() > 2 && part[1] == ':' && slash == std::string_view::npos) part.remove_prefix(2);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
    if (part.empty() || part == ".") continue;
    if (last.empty()) last = part;
    if (is_here([part](const CheckpointFacts& c) { return c.name == part; }) != checkpoints.end())
      return std::string(part);
  }
  const auto at_step = is_here([&state](const CheckpointFacts& c) {
    return state.best_global_step && !c.is_staging && c.number == state.best_global_step;
  });
  return at_step != checkpoints.end() ? at_step->name : last;
}

void read_history(const RunFolder& folder, const MetricWish& wish, RunFacts& run) {
  Names names(run.metric_names);
  std::vector<Lineage> lineages = find_lineages(
      run.checkpoints, [&folder](CheckpointFacts& checkpoint) { return state_of(folder, checkpoint); });
  const CheckpointFacts* const owner = lineages.empty() ? nullptr : &run.checkpoints[lineages.front().newest];
  if (run.is_by_pattern) {
    for (CheckpointFacts& checkpoint : run.checkpoints) take_from_name(names, checkpoint);
  }
  run.has_evaluations = std::any_of(run.metric_names.begin(), run.metric_names.end(),
                                    [](const std::string& name) { return lower_by_name(name).has_value(); });
  if (!lineages.empty()) {
    for (std::size_t k = 1; k < lineages.size(); ++k)
      run.other_bests.push_back(best_name(lineages[k].state, run.checkpoints));
    if (std::optional<TrainerState> whole = state_of_run(folder, run); whole && continues(*whole, lineages))
      lineages.front().state = std::move(*whole);
    const TrainerState& state = lineages.front().state;
    run.best = best_name(state, run.checkpoints);
    run.best_metric = state.best_metric;
    run.save_steps = state.save_steps;
    take_logs(lineages, names, run);
    warn_of_other_runs(lineages, run);
  }
  std::vector<std::string> logged = run.metric_names;
  for (const Lineage& lineage : lineages)
    logged.insert(logged.end(), lineage.state.metric_names.begin(), lineage.state.metric_names.end());
  run.has_evaluations = run.has_evaluations || std::any_of(logged.begin(), logged.end(), is_evaluation);
  run.metric = choose_metric(wish, arguments_of(folder, run, owner), logged);
  if (lineages.empty()) return;
  const TrainerState& state = lineages.front().state;
  const std::optional<std::uint32_t> id = state.metric_id(run.metric.name);
  if (!id) return;
  for (const TrainerLogEntry& entry : state.log_history) {
    for (const TrainerMetric& metric : entry.metrics) {
      if (metric.name == *id && entry.step) run.metric_series.emplace_back(*entry.step, metric.value);
    }
  }
}

}  // namespace mu
