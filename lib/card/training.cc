// SPDX-License-Identifier: Apache-2.0
// How a run went, and with which settings: facts from trainer_state.json and training_args.bin. A log holds
// entries of the training and of evaluations. read_log() sorts their numbers by name: the loss, the few that
// tell how the method went (metrics.h), and the evaluations, whose metrics are renamed after their set where
// several sets are evaluated. Of the arguments, those of the table in data/ come first with their defaults.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>

#include "base/text.h"
#include "card/gather.h"
#include "card/metrics.h"
#include "card/results_table.h"
#include "card/tables.h"
#include "model/hf_cache.h"

namespace mu {
namespace {

constexpr std::string_view kState = "trainer_state.json";

struct Evaluated {
  std::optional<double> epoch;
  std::map<std::string, double> values;
};

struct Log {
  std::vector<CurvePoint> train;  // the loss, by step
  std::vector<MetricCurve> metrics;
  std::map<std::uint64_t, Evaluated> evals;
  std::unordered_set<std::string> columns;  // names of the evaluations' numbers
};

// A resumed run logs steps again: the later entry counts.
void sort_by_step(std::vector<CurvePoint>& curve) {
  const auto by_step = [](const CurvePoint& a, const CurvePoint& b) { return a.step < b.step; };
  if (!std::is_sorted(curve.begin(), curve.end(), by_step))
    std::stable_sort(curve.begin(), curve.end(), by_step);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < curve.size(); ++i) {
    if (i + 1 < curve.size() && curve[i + 1].step == curve[i].step) continue;
    curve[kept++] = curve[i];
  }
  curve.erase(curve.begin() + static_cast<std::ptrdiff_t>(kept), curve.end());
}

// What to do with the numbers of one name: a long log repeats a few names.
struct Sort {
  enum class Kind : std::uint8_t { kOther, kLoss, kRate, kEval, kHeadline } kind = Kind::kOther;
  std::size_t headline = 0;
  std::string set;  // the evaluation set that an entry with this name is about
};

std::vector<Sort> sorts_of(const TrainerState& state, const std::vector<Headline>& headlines,
                           const std::vector<std::string>& sets) {
  std::vector<Sort> sorts;
  for (const std::string& name : state.metric_names) {
    const bool eval = name.starts_with("eval_");
    Sort sort;
    if (eval) sort.set = split_column(name, sets).set;
    if (eval && !keeps_books(name)) sort.kind = Sort::Kind::kEval;
    if (name == "loss") sort.kind = Sort::Kind::kLoss;
    if (name == "learning_rate" || name == "grad_norm") sort.kind = Sort::Kind::kRate;
    for (std::size_t i = 0; i < headlines.size(); ++i) {
      if (headlines[i].metric != name) continue;
      sort.kind = Sort::Kind::kHeadline;
      sort.headline = i;
    }
    sorts.push_back(std::move(sort));
  }
  return sorts;
}

// Adds the evaluation in an entry. `columns` gets the names that are new.
void add_evaluation(Log& log, const TrainerState& state, const TrainerLogEntry& entry,
                    const std::vector<Sort>& sorts, std::vector<std::string>& columns) {
  std::string set;
  for (const TrainerMetric& metric : entry.metrics) {
    if (!sorts[metric.name].set.empty()) set = sorts[metric.name].set;
  }
  for (const TrainerMetric& metric : entry.metrics) {
    const Sort& sort = sorts[metric.name];
    if (sort.kind != Sort::Kind::kEval) continue;
    std::string name = state.metric_names[metric.name];
    if (!set.empty() && sort.set.empty()) name.insert(5, set + "_");
    if (log.columns.insert(name).second) columns.push_back(name);
    Evaluated& row = log.evals[entry.step.value_or(0)];
    row.epoch = entry.epoch;
    row.values[name] = metric.value;
  }
}

// Reads the loss, the headline metrics and the evaluations. `columns` gets the names of the latter.
Log read_log(const TrainerState& state, const std::vector<Headline>& headlines,
             const std::vector<std::string>& sets, std::vector<std::string>& columns) {
  Log log;
  for (const Headline& headline : headlines)
    log.metrics.push_back({std::string(headline.metric), std::string(headline.label), {}});
  const std::vector<Sort> sorts = sorts_of(state, headlines, sets);
  bool any_loss = false;
  for (const TrainerLogEntry& entry : state.log_history) {
    const std::uint64_t step = entry.step.value_or(0);
    bool has_loss = false, has_rate = false, has_eval = false;
    for (const TrainerMetric& metric : entry.metrics) {
      const Sort& sort = sorts[metric.name];
      const CurvePoint point{step, entry.epoch, metric.value};
      if (sort.kind == Sort::Kind::kLoss) log.train.push_back(point);
      if (sort.kind == Sort::Kind::kHeadline) log.metrics[sort.headline].points.push_back(point);
      has_loss = has_loss || sort.kind == Sort::Kind::kLoss;
      has_rate = has_rate || sort.kind == Sort::Kind::kRate;
      has_eval = has_eval || sort.kind == Sort::Kind::kEval;
    }
    any_loss = any_loss || has_loss;
    // A loss that was written as null was not a number either.
    if (has_rate && !has_loss) log.train.push_back({step, entry.epoch, std::nan("")});
    if (has_eval) add_evaluation(log, state, entry, sorts, columns);
  }
  if (!any_loss) log.train.clear();
  sort_by_step(log.train);
  for (MetricCurve& curve : log.metrics) sort_by_step(curve.points);
  return log;
}

void add_summary(CardFacts& facts, const TrainerState& state) {
  std::vector<std::optional<double>> last(state.metric_names.size());
  for (const TrainerLogEntry& entry : state.log_history) {
    for (const TrainerMetric& metric : entry.metrics) last[metric.name] = metric.value;
  }
  const auto take = [&](std::string_view metric, std::string_view fact) {
    const std::optional<std::uint32_t> id = state.metric_id(metric);
    if (id && last[*id]) facts.add_number(fact, *last[*id], kState);
  };
  take("train_runtime", "train_runtime_seconds");
  take("train_samples_per_second", "train_samples_per_second");
  take("train_loss", "mean_train_loss");
  take("num_tokens", "tokens_seen");
  take("mean_token_accuracy", "final_token_accuracy");
  for (const MetricCurve& curve : facts.metrics) {
    const auto known = std::find_if(curve.points.rbegin(), curve.points.rend(),
                                    [](const CurvePoint& point) { return std::isfinite(point.value); });
    if (known != curve.points.rend() && curve.metric != "mean_token_accuracy")
      facts.add_number("final_" + curve.metric, known->value, kState);
  }
  if (state.num_input_tokens_seen.value_or(0) > 0)
    facts.add_number("tokens_seen", static_cast<double>(*state.num_input_tokens_seen), kState);
}

std::string argument_text(const TrainingArguments& arguments, std::string_view name) {
  if (const std::optional<bool> flag = arguments.flag(name)) return *flag ? "true" : "false";
  if (const std::optional<double> number = arguments.number(name)) return fmt::format("{}", *number);
  const std::string text = arguments.text(name).value_or("");
  if (name == "deepspeed") return text.empty() ? "" : "true";  // the value is the path of its settings
  const bool place = is_local_path(text) || text.find_first_of("/\\") != std::string::npos;
  return place || text.find("***") != std::string::npos || text.size() > 200 ? "" : text;
}

// Names of places, runs and accounts. The values of secrets are "***", and argument_text() leaves them out.
bool is_private(std::string_view name) {
  for (const std::string_view end :
       {"_dir", "_path", "_file", "_name", "_id", "_organization", "_strategy_config"}) {
    if (name.ends_with(end)) return true;
  }
  for (const std::string_view own : {"project", "deepspeed", "resume_from_checkpoint", "local_rank",
                                     "report_to", "fsdp_config", "deepspeed_plugin"}) {
    if (name == own) return true;
  }
  return name.starts_with("hub_") || name.starts_with("push_to_hub");
}

// Adds all arguments that the table does not know, by name.
void add_other_arguments(CardFacts& facts, const TrainingArguments& arguments) {
  std::vector<std::string> names = arguments.names();
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const bool known = std::any_of(hyperparameters().begin(), hyperparameters().end(),
                                   [&](const Hyperparameter& h) { return h.name == name; });
    const bool named = name.size() < 64 && is_plain_name(name);
    std::string value = known || !named || is_private(name) ? "" : argument_text(arguments, name);
    if (!value.empty()) facts.hyperparameters.push_back({name, std::move(value), "", false});
  }
}

// Where the run was to be pushed (TrainingArguments; the two older names are gone since Transformers 5). A name
// without an owner is that of an account that the file does not know.
void add_push_target(CardFacts& facts, const TrainingArguments& arguments) {
  std::string id = arguments.text("hub_model_id").value_or("");
  const std::string owner = arguments.text("push_to_hub_organization").value_or("");
  const std::string name = arguments.text("push_to_hub_model_id").value_or("");
  if (id.empty() && !owner.empty() && !name.empty()) id = owner + "/" + name;
  if (is_repo_id(id) && id.find('/') != std::string::npos && !is_local_path(id))
    facts.add("repo", id, "training_args.bin");
}

// The loss of a run that follows a reward says little.
bool follows_loss(const CardFacts& facts) {
  return plotted_label(facts) == "loss";
}

// The evaluation that the trainer chose, else the one with the lowest loss, which is in the column `loss`.
const EvalRow* best_evaluation(const CardFacts& facts, const TrainerState& state,
                               const std::optional<std::size_t>& loss) {
  for (const EvalRow& row : facts.evaluations) {
    if (row.step == state.best_global_step) return &row;
  }
  if (!loss || !follows_loss(facts)) return nullptr;
  const EvalRow* best = nullptr;
  for (const EvalRow& row : facts.evaluations) {
    const std::optional<double>& value = row.values[*loss];
    if (value && std::isfinite(*value) && (best == nullptr || *value < *best->values[*loss])) best = &row;
  }
  return best;
}

std::string class_stem(std::string_view class_name) {
  std::string_view name = class_name.substr(class_name.rfind('.') + 1);
  if (name.ends_with("Config")) name.remove_suffix(6);
  return std::string(name);
}

}  // namespace

void add_trainer_state(CardFacts& facts, const TrainerState& state) {
  const std::vector<Headline> headlines = headlines_of(state.metric_names);
  facts.eval_sets = eval_sets(state.metric_names);
  Log log = read_log(state, headlines, facts.eval_sets, facts.eval_columns);
  order_eval_columns(facts.eval_columns, headlines, facts.eval_sets);
  constexpr std::size_t kMostCells = 16U << 20;  // bounds memory
  while (facts.eval_columns.size() > 1 && log.evals.size() * facts.eval_columns.size() > kMostCells)
    facts.eval_columns.pop_back();
  facts.train_curve = std::move(log.train);
  facts.metrics = std::move(log.metrics);
  facts.metrics_first = !headlines.empty() && headlines.front().before_loss;
  for (const auto& [step, evaluated] : log.evals) {
    EvalRow row{step, evaluated.epoch, {}};
    for (const std::string& column : facts.eval_columns) {
      const auto found = evaluated.values.find(column);
      row.values.push_back(found == evaluated.values.end() ? std::nullopt : std::optional(found->second));
    }
    facts.evaluations.push_back(std::move(row));
  }
  if (state.global_step) facts.add_number("global_step", static_cast<double>(*state.global_step), kState);
  if (state.epoch) facts.add_number("epochs", *state.epoch, kState);
  add_summary(facts, state);
  const std::optional<std::size_t> loss = loss_column(facts.eval_columns, facts.eval_sets);
  const EvalRow* best = best_evaluation(facts, state, loss);
  if (best == nullptr) return;
  facts.best_step = best->step;
  facts.add_number("best_step", static_cast<double>(best->step), kState);
  if (loss && best->values[*loss] && follows_loss(facts))
    facts.add_number("best_eval_loss", *best->values[*loss], kState);
}

void add_training_arguments(CardFacts& facts, const TrainingArguments& arguments) {
  constexpr std::string_view kSource = "training_args.bin";
  facts.add("trainer", arguments.class_name.substr(arguments.class_name.rfind('.') + 1), kSource);
  const bool trl = arguments.class_name.starts_with("trl.");
  const std::string config = trl ? class_stem(arguments.class_name) : "";
  const Trainer* trainer = trl ? trainer_by_config(config) : nullptr;
  if (trainer != nullptr) facts.add("method", std::string(trainer->tag), kSource);
  for (const Hyperparameter& parameter : hyperparameters()) {
    std::string value = argument_text(arguments, parameter.name);
    if (value.empty()) continue;
    std::string fallback(parameter.default_of(config));
    const bool differs = value != fallback;
    facts.hyperparameters.push_back(
        {std::string(parameter.name), std::move(value), std::move(fallback), differs});
  }
  add_other_arguments(facts, arguments);
  add_push_target(facts, arguments);
  for (const std::string_view token : {"hub_token", "push_to_hub_token"}) {
    if (arguments.text(token))
      facts.notes.push_back(fmt::format("training_args.bin holds a {}: do not publish that file", token));
  }
  const std::optional<double> batch = arguments.number("per_device_train_batch_size");
  const std::optional<double> steps = arguments.number("gradient_accumulation_steps");
  const std::optional<double> processes = facts.number("processes");
  if (batch && steps && processes)
    facts.add_number("effective_batch_size", *batch * *steps * *processes,
                     "training_args.bin and the count of processes");
}

}  // namespace mu
