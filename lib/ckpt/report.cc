// SPDX-License-Identifier: Apache-2.0
// What the user sees of a plan. Everything here is a pure function of the facts, the plan and the outcome;
// nothing is looked up again, so text and JSON can't disagree. The JSON document comes first, one function
// for each of its objects; then the texts: a table of the checkpoints (--list), the plan with its reasons,
// plain paths for other programs, one line about the outcome. Text escapes names for a terminal; JSON and
// paths that end in NUL keep them exact.

#include "ckpt/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/duration.h"
#include "base/json_write.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/table.h"
#include "os/folder.h"

namespace mu {
namespace {

std::string number_text(double value) {
  return fmt::format("{:.6g}", value);
}

std::string age_text(const RunFacts& run, const CheckpointFacts& checkpoint) {
  if (checkpoint.time_ns > run.now_ns + kSecond) return "future";
  return format_duration(
      static_cast<std::uint64_t>(std::max<std::int64_t>(0, run.now_ns - checkpoint.time_ns)) / kSecond);
}

std::string kind_text(const RunFacts& run, const CheckpointFacts& checkpoint, bool is_torn) {
  if (is_being_written(checkpoint, run.now_ns)) return "being written";
  if (is_torn) return red("torn");
  if (checkpoint.is_rank_only) return "ranks";
  if (checkpoint.condition == Condition::kResumable) return "full";
  return checkpoint.condition == Condition::kInferenceOnly ? "slim" : "unreadable";
}

std::string path_of(const RunFacts& run, const CheckpointFacts& checkpoint) {
  return run.path == "." ? checkpoint.name : join_path(run.path, checkpoint.name);
}

// The saved checkpoint with the best value of the metric; null if there is none.
const CheckpointFacts* best_saved(const RunFacts& run) {
  const CheckpointFacts* best = nullptr;
  for (const CheckpointFacts& checkpoint : run.checkpoints) {
    const std::optional<double> value = checkpoint.is_complete() ? run.rank_value(checkpoint) : std::nullopt;
    if (!value || !run.metric.lower_is_better) continue;
    const std::optional<double> other = best == nullptr ? std::nullopt : run.rank_value(*best);
    if (!other || (*run.metric.lower_is_better ? *value < *other : *value > *other)) best = &checkpoint;
  }
  return best;
}

void append_outcome(JsonWriter& json, const Outcome& outcome) {
  json.key("outcome").begin_object();
  json.member("removed", outcome.removed).member("slimmed", outcome.slimmed).member("aside", outcome.aside);
  json.member("leftovers", outcome.leftovers)
      .member("vanished", outcome.vanished)
      .member("bytes_freed", outcome.bytes_freed);
  json.key("failures").begin_array();
  for (const Error& error : outcome.failures) json.value(error.what());
  json.end_array().end_object();
}

void append_optional(JsonWriter& json, std::string_view key, const auto& value) {
  json.key(key);
  if (value)
    json.value(*value);
  else
    json.null();
}

void append_checkpoint(JsonWriter& json, const RunFacts& run, const CheckpointFacts& c,
                       const PlanItem& item) {
  json.begin_object().member("name", c.name).member("path", path_of(run, c));
  append_optional(json, "step", c.number);
  append_optional(json, "epoch", c.epoch);
  const std::int64_t saved_ms = c.time_ns / 1'000'000;
  json.member("saved_at", static_cast<double>(saved_ms) / 1e3);
  json.member("bytes", c.disk_bytes()).member("condition", condition_name(c.condition));
  if (!c.why.empty()) json.member("why", c.why);
  json.member("optimizer", c.has_optimizer).member("being_written", is_being_written(c, run.now_ns));
  json.member("best", c.name == run.best);
  json.key("parts").begin_object();
  for (std::size_t i = 0; i < kContentCount; ++i) {
    if (c.content_bytes[i] > 0) json.member(content_name(static_cast<Content>(i)), c.content_bytes[i]);
  }
  json.end_object().key("metrics").begin_object();
  for (const TrainerMetric& metric : c.metrics) json.member(run.metric_names[metric.name], metric.value);
  json.end_object();
  json.member("verb", verb_name(item.verb))
      .member("frees", item.frees)
      .member("protected", item.is_protected);
  json.key("reasons").begin_array();
  for (const std::string& reason : item.reasons) json.value(reason);
  json.end_array().end_object();
}

void append_run(JsonWriter& json, const RunFacts& run, const RunPlan& plan, const Outcome* outcome) {
  json.begin_object().member("path", run.path);
  if (run.failure) {
    json.member("failure", run.failure->what()).end_object();
    return;
  }
  if (plan.failure) json.member("failure", plan.failure->what());
  json.key("metric").begin_object().member("name", run.metric.name);
  append_optional(json, "lower_is_better", run.metric.lower_is_better);
  json.end_object();
  json.key("best");
  if (run.best.empty())
    json.null();
  else
    json.value(run.best);
  json.member("bytes_before", plan.bytes_before)
      .member("bytes_after", plan.bytes_after)
      .member("free_bytes", run.free_bytes);
  if (const std::optional<NextCheckpoint> next = predict_next(run)) {
    json.key("next").begin_object().member("bytes", next->bytes).member("fits", next->fits).end_object();
  }
  json.key("checkpoints").begin_array();
  for (std::size_t i = 0; i < run.checkpoints.size(); ++i)
    append_checkpoint(json, run, run.checkpoints[i], plan.items[i]);
  json.end_array();
  json.key("warnings").begin_array();
  for (const std::string& line : warning_lines(run, plan, true)) json.value(line);
  json.end_array();
  if (outcome != nullptr) append_outcome(json, *outcome);
  json.end_object();
}

std::string counts_text(const RunPlan& plan) {
  std::vector<std::string> parts;
  for (const Verb verb : {Verb::kKeep, Verb::kSlim, Verb::kRemove, Verb::kAside}) {
    if (const std::uint64_t count = plan.count(verb); count > 0)
      parts.push_back(fmt::format("{} {}", verb_name(verb), count));
  }
  return join(parts, ", ");
}

}  // namespace

std::optional<NextCheckpoint> predict_next(const RunFacts& run) {
  const CheckpointFacts* model = nullptr;
  for (const CheckpointFacts& checkpoint : run.checkpoints) {
    if (!checkpoint.is_complete()) continue;
    if (model == nullptr || checkpoint.condition == Condition::kResumable ||
        model->condition != Condition::kResumable)
      model = &checkpoint;
  }
  if (model == nullptr) return std::nullopt;
  return NextCheckpoint{model->apparent_bytes, model->apparent_bytes <= run.free_bytes};
}

std::string next_text(const RunFacts& run) {
  const std::optional<NextCheckpoint> next = predict_next(run);
  if (!next) return "";
  return fmt::format("the next checkpoint needs about {}, {} are free: it {}", format_size(next->bytes),
                     format_size(run.free_bytes), next->fits ? "fits" : "does not fit");
}

std::string unsaved_best_text(const RunFacts& run) {
  if (!run.metric.lower_is_better) return "";
  std::optional<std::pair<std::uint64_t, double>> best;
  for (const auto& [step, value] : run.metric_series) {
    if (!std::isfinite(value)) continue;
    if (!best || (*run.metric.lower_is_better ? value < best->second : value > best->second))
      best = {step, value};
  }
  const CheckpointFacts* const saved = best_saved(run);
  if (!best || saved == nullptr || saved->number == best->first) return "";
  const double kept = *run.rank_value(*saved);
  if (*run.metric.lower_is_better ? kept <= best->second : kept >= best->second) return "";
  // If saves have a known interval that misses this step, it was never saved; otherwise it may have been
  // removed since.
  const double interval = run.save_steps.value_or(0);
  const bool never = interval > 1 && std::fmod(static_cast<double>(best->first), interval) != 0;
  return fmt::format("best evaluated step {} ({} {}) {}; best saved is {} ({})", best->first,
                     escape_name(run.metric.name), number_text(best->second),
                     never ? "was never saved" : "is not among the checkpoints", saved->number.value_or(0),
                     number_text(kept));
}

std::string sparkline(const std::vector<double>& values, std::size_t width) {
  constexpr std::array<std::string_view, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::size_t columns = std::min(width, values.size());
  std::vector<double> means;
  for (std::size_t c = 0; c < columns; ++c) {
    double sum = 0;
    std::size_t count = 0;
    for (std::size_t i = c * values.size() / columns; i < (c + 1) * values.size() / columns; ++i) {
      if (!std::isfinite(values[i])) continue;
      sum += values[i];
      ++count;
    }
    means.push_back(count == 0 ? std::nan("") : sum / static_cast<double>(count));
  }
  double low = INFINITY, high = -INFINITY;
  for (const double mean : means) {
    if (std::isnan(mean)) continue;
    low = std::min(low, mean);
    high = std::max(high, mean);
  }
  std::string line;
  for (const double mean : means) {
    const double height = high > low ? (mean - low) / (high - low) : 0;
    line += std::isnan(mean) ? " " : kBlocks[static_cast<std::size_t>(std::lround(height * 7))];
  }
  return line;
}

std::string list_text(const RunFacts& run, const RunPlan& plan) {
  const auto count = std::count_if(run.checkpoints.begin(), run.checkpoints.end(),
                                   [](const CheckpointFacts& c) { return !c.is_staging; });
  std::string text = bold(escape_name(run.path)) +
                     fmt::format(": {}, {}\n", plural(static_cast<std::uint64_t>(count), "checkpoint"),
                                 format_size(plan.bytes_before));
  if (run.checkpoints.empty()) return text;
  const bool any_metric =
      std::any_of(run.checkpoints.begin(), run.checkpoints.end(),
                  [&run](const CheckpointFacts& c) { return run.rank_value(c).has_value(); });
  const bool verbs = plan.changes_anything();
  Table table("lrrrllll");
  table.row({"checkpoint", "epoch", "age", "size", "kind", any_metric ? escape_name(run.metric.name) : "",
             verbs ? "plan" : "", ""});
  const CheckpointFacts* const best = best_saved(run);
  for (std::size_t i = 0; i < run.checkpoints.size(); ++i) {
    const CheckpointFacts& c = run.checkpoints[i];
    const std::optional<double> value = run.rank_value(c);
    std::vector<std::string> notes;
    if (c.name == run.best) notes.emplace_back("best of the run");
    if (&c == best && c.name != run.best) notes.emplace_back("best saved");
    if (c.condition != Condition::kResumable && !c.why.empty()) notes.push_back(escape_name(c.why));
    table.row({escape_name(c.name), c.epoch ? fmt::format("{:.4g}", *c.epoch) : "", age_text(run, c),
               format_size(c.disk_bytes()), kind_text(run, c, plan.items[i].is_torn),
               value ? number_text(*value) : "", verbs ? std::string(verb_name(plan.items[i].verb)) : "",
               join(notes, "; ")});
  }
  const std::size_t width = out_width();
  if (width > 2) {
    std::vector<std::size_t> least_first = {4, 1};  // kind, epoch
    if (!verbs) least_first.insert(least_first.begin(), 6);
    table.leave_out(least_first, width - 2);
  }
  text += table.text(2, width);
  std::vector<double> values;
  for (const auto& [step, value] : run.metric_series) values.push_back(value);
  if (values.size() > 1) {
    text += fmt::format("  {} {} {} {} over steps {} to {}\n", escape_name(run.metric.name),
                        number_text(values.front()), sparkline(values, 40), number_text(values.back()),
                        run.metric_series.front().first, run.metric_series.back().first);
  }
  for (const std::string& line : {unsaved_best_text(run), next_text(run)}) {
    if (!line.empty()) text += "  " + line + "\n";
  }
  return text;
}

std::string plan_text(const std::vector<RunFacts>& runs, const Plan& plan, std::size_t width) {
  std::string text;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const RunFacts& run = runs[r];
    if (run.failure || run.checkpoints.empty()) continue;
    text += fmt::format("{}: {}; {} of {} stay\n", escape_name(run.path), counts_text(plan.runs[r]),
                        format_size(plan.runs[r].bytes_after), format_size(plan.runs[r].bytes_before));
    Table table("llrl");
    for (std::size_t i = 0; i < run.checkpoints.size(); ++i) {
      const PlanItem& item = plan.runs[r].items[i];
      table.row({std::string(verb_name(item.verb)), escape_name(run.checkpoints[i].name),
                 format_size(run.checkpoints[i].disk_bytes()), escape_name(join(item.reasons, "; "))});
    }
    text += table.text(2, width);
  }
  if (runs.size() > 1)
    text += fmt::format("{} together: {} of {} stay\n", plural(runs.size(), "run"),
                        format_size(plan.bytes_after), format_size(plan.bytes_before));
  return text;
}

std::string paths_text(const std::vector<RunFacts>& runs, const Plan& plan, Verb verb, bool null) {
  std::string text;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    for (std::size_t i = 0; i < runs[r].checkpoints.size(); ++i) {
      if (plan.runs[r].items[i].verb != verb) continue;
      const std::string path = path_of(runs[r], runs[r].checkpoints[i]);
      text += null ? path + '\0' : escape_name(path) + '\n';
    }
  }
  return text;
}

std::string plan_json(const std::vector<RunFacts>& runs, const Plan& plan,
                      const std::vector<Outcome>& outcomes) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("schema", "modelutils.ckpt-prune/1").member("done", !outcomes.empty());
  json.member("bytes_before", plan.bytes_before).member("bytes_after", plan.bytes_after);
  json.member("over_total", plan.over_total).member("short_of_free", plan.short_of_free);
  json.key("runs").begin_array();
  for (std::size_t r = 0; r < runs.size(); ++r)
    append_run(json, runs[r], plan.runs[r], r < outcomes.size() ? &outcomes[r] : nullptr);
  json.end_array().end_object();
  return text + "\n";
}

std::string outcome_text(const Outcome& outcome) {
  std::vector<std::string> parts;
  if (outcome.removed > 0) parts.push_back("removed " + plural(outcome.removed, "checkpoint"));
  if (outcome.slimmed > 0) parts.push_back(fmt::format("slimmed {}", outcome.slimmed));
  if (outcome.aside > 0) parts.push_back(fmt::format("put {} aside", outcome.aside));
  if (outcome.leftovers > 0)
    parts.push_back(fmt::format("finished {} left by a killed run", outcome.leftovers));
  if (parts.empty()) return "";
  return join(parts, ", ") +
         (outcome.bytes_freed > 0 ? ": " + format_size(outcome.bytes_freed) + " freed" : "");
}

std::vector<std::string> warning_lines(const RunFacts& run, const RunPlan& plan, bool all) {
  std::vector<std::string> lines;
  for (const std::string& sentence : run.left_alone)
    lines.push_back(escape_name(run.path) + ": " + escape_name(sentence));
  if (all || plan.changes_anything()) {
    for (const std::vector<std::string>& notes : {run.warnings, plan.notes}) {
      for (const std::string& note : notes) lines.push_back(escape_name(run.path) + ": " + escape_name(note));
    }
  }
  for (std::size_t i = 0; i < plan.items.size(); ++i) {
    const CheckpointFacts& c = run.checkpoints[i];
    const std::string path = escape_name(path_of(run, c));
    if (!c.doubt.empty()) lines.push_back(path + ": " + escape_name(c.doubt));
    if (c.is_staging) {
      lines.push_back(fmt::format("{}: {}{}", path, escape_name(c.why),
                                  plan.items[i].verb == Verb::kKeep ? "" : ": it will be removed"));
      continue;
    }
    if (!plan.items[i].is_torn || plan.items[i].verb != Verb::kKeep || is_being_written(c, run.now_ns))
      continue;
    const bool is_newest = i + 1 == plan.items.size();
    lines.push_back(
        fmt::format("{}: torn: {}{}", path, escape_name(c.why),
                    is_newest && !run.is_by_pattern ? "; resuming would pick it up (--torn aside)" : ""));
  }
  return lines;
}

}  // namespace mu
