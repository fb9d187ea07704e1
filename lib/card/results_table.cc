// SPDX-License-Identifier: Apache-2.0
// The table has a row for each evaluation and for some dozen other steps. Its columns come from two sides: curves of
// the training (train_columns), of which an evaluation shows the last point, and numbers of the evaluations
// (layout_of). Several evaluation sets share the columns, and each has a row at a step, with its own best in bold.
// Which curve leads, the loss or a reward, is decided here (leading_curve), for the plot as well.

#include "card/results_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include "card/markdown.h"
#include "card/metrics.h"

namespace mu {
namespace {

std::string cell(const std::optional<double>& value) {
  return value ? fmt::format("{:.4g}", *value) : "";
}

// "rewards/margins" -> "validation margin", "math loss" for a set with a name.
std::string column_name(const CardFacts& facts, const EvalColumn& column, bool named) {
  const std::string of = named && !column.set.empty() ? column.set : "validation";
  if (column.metric == "loss") return md_text(of + " loss");
  for (const MetricCurve& curve : facts.metrics) {
    if (column.metric == curve.metric) return md_text(of + " " + curve.label);
  }
  std::string name = named && !column.set.empty() ? column.set + " " + column.metric : column.metric;
  std::replace(name.begin(), name.end(), '_', ' ');
  return md_text(name);
}

// The first headline that leads, or null: then the loss leads.
const MetricCurve* leading_curve(const CardFacts& facts) {
  const bool reward =
      facts.metrics_first && !facts.metrics.empty() && facts.metrics.front().label == "reward";
  return reward ? &facts.metrics.front() : nullptr;
}

// The columns of the evaluations. Several sets share them, and each has rows of its own.
struct EvalLayout {
  std::vector<std::string> sets;    // none: one row for each evaluation
  std::vector<EvalColumn> columns;  // in their order; with sets, of the first that has it
  std::vector<std::string> header;
  std::vector<std::optional<std::uint64_t>>
      best;  // the step in bold of each set; without sets, the one of the run
};

// The steps in bold. Of several sets each has its own, by its loss, but for a run that follows a reward.
std::vector<std::optional<std::uint64_t>> best_steps(const CardFacts& facts,
                                                     const std::vector<std::string>& sets) {
  std::vector<std::optional<std::uint64_t>> steps(std::max<std::size_t>(sets.size(), 1), facts.best_step);
  if (sets.empty() || !facts.best_step || leading_curve(facts) != nullptr) return steps;
  for (const SetLoss& best : best_losses(facts)) {
    const auto set = std::find(sets.begin(), sets.end(), best.name);
    if (set != sets.end()) steps[static_cast<std::size_t>(set - sets.begin())] = best.step;
  }
  return steps;
}

EvalLayout layout_of(const CardFacts& facts) {
  EvalLayout layout;
  std::vector<EvalColumn> all;
  for (const std::string& column : facts.eval_columns) all.push_back(split_column(column, facts.eval_sets));
  for (const std::string& set : facts.eval_sets) {
    if (std::any_of(all.begin(), all.end(), [&](const EvalColumn& c) { return c.set == set; }))
      layout.sets.push_back(set);
  }
  if (layout.sets.size() < 2) layout.sets.clear();
  layout.best = best_steps(facts, layout.sets);
  for (EvalColumn& column : all) {
    // Beside a reward or an accuracy, TRL logs a dozen others.
    const bool telling = column.metric == "loss" || column.metric.find('/') == std::string::npos ||
                         std::any_of(facts.metrics.begin(), facts.metrics.end(),
                                     [&](const MetricCurve& curve) { return curve.metric == column.metric; });
    if (facts.metrics_first && !telling) continue;
    const bool known = std::any_of(layout.columns.begin(), layout.columns.end(),
                                   [&](const EvalColumn& c) { return c.metric == column.metric; });
    if (!layout.sets.empty() && known) continue;
    layout.header.push_back(column_name(facts, column, layout.sets.empty()));
    layout.columns.push_back(std::move(column));
  }
  return layout;
}

std::optional<double> value_of(const CardFacts& facts, const EvalRow& row, std::string_view set,
                               std::string_view metric) {
  for (std::size_t i = 0; i < facts.eval_columns.size(); ++i) {
    const EvalColumn column = split_column(facts.eval_columns[i], facts.eval_sets);
    if (column.set == set && column.metric == metric) return row.values[i];
  }
  return std::nullopt;
}

// The steps of a curve that are shown: the first, the last, the lowest, and about a dozen others, closer
// together early on.
std::vector<std::uint64_t> shown_steps(const std::vector<CurvePoint>& curve) {
  constexpr std::size_t kShown = 12;  // rows that one still reads
  std::vector<std::uint64_t> steps;
  const std::size_t n = curve.size();
  if (n == 0) return steps;
  for (std::size_t i = 0; i < kShown; ++i) {
    const double at = std::pow(static_cast<double>(n), static_cast<double>(i) / (kShown - 1)) - 1;
    steps.push_back(curve[std::min(n - 1, static_cast<std::size_t>(at))].step);
  }
  const auto lowest =
      std::min_element(curve.begin(), curve.end(), [](const CurvePoint& a, const CurvePoint& b) {
        return !std::isnan(a.value) && (std::isnan(b.value) || a.value < b.value);
      });
  steps.push_back(lowest->step);
  steps.push_back(curve.back().step);
  return steps;
}

// A column of the table that comes from the training.
struct TrainColumn {
  std::string name;
  const std::vector<CurvePoint>* points;
};

std::vector<TrainColumn> train_columns(const CardFacts& facts) {
  std::vector<TrainColumn> columns;
  for (const MetricCurve& curve : facts.metrics) {
    if (!curve.points.empty()) columns.push_back({md_text(curve.label), &curve.points});
  }
  // The loss always has its column.
  const TrainColumn loss{"training loss", &facts.train_curve};
  columns.insert(facts.metrics_first ? columns.end() : columns.begin(), loss);
  return columns;
}

// The last point at or before a step; null before the first.
const CurvePoint* last_point(const std::vector<CurvePoint>& curve, std::uint64_t step) {
  const auto after = std::upper_bound(curve.begin(), curve.end(), step,
                                      [](std::uint64_t s, const CurvePoint& p) { return s < p.step; });
  return after == curve.begin() ? nullptr : &*std::prev(after);
}

// The cells of a step that come from the training, the epoch first.
std::vector<std::string> train_cells(const std::vector<TrainColumn>& columns, std::uint64_t step,
                                     const EvalRow* evaluated) {
  std::vector<std::string> cells(1);
  for (const TrainColumn& column : columns) {
    const CurvePoint* point = last_point(*column.points, step);
    const bool now = point != nullptr && point->step == step;
    if (now && cells[0].empty()) cells[0] = cell(point->epoch);
    const bool carried = evaluated != nullptr && point != nullptr;
    const bool too_early = evaluated != nullptr && point == nullptr && !column.points->empty();
    cells.push_back(now || carried ? fmt::format("{:.4g}", point->value) : too_early ? "no log" : "");
  }
  if (cells[0].empty() && evaluated != nullptr) cells[0] = cell(evaluated->epoch);
  return cells;
}

// The rows of a step: one, or one for each set that was evaluated.
void add_rows(const CardFacts& facts, const std::vector<TrainColumn>& columns, const EvalLayout& layout,
              std::uint64_t step, std::vector<std::vector<std::string>>& rows) {
  const auto found = std::lower_bound(facts.evaluations.begin(), facts.evaluations.end(), step,
                                      [](const EvalRow& r, std::uint64_t s) { return r.step < s; });
  const EvalRow* eval = found != facts.evaluations.end() && found->step == step ? &*found : nullptr;
  const std::vector<std::string> train = train_cells(columns, step, eval);
  const auto add = [&](const std::string* set, std::optional<std::uint64_t> best) {
    std::vector<std::string> row = {std::to_string(step), train[0]};
    if (!layout.sets.empty()) row.push_back(set == nullptr ? "" : md_text(*set));
    row.insert(row.end(), train.begin() + 1, train.end());
    bool any = false;
    for (const EvalColumn& column : layout.columns) {
      const std::optional<double> value =
          eval == nullptr || (set == nullptr && !layout.sets.empty())
              ? std::nullopt
              : value_of(facts, *eval, set == nullptr ? column.set : *set, column.metric);
      any = any || value;
      row.push_back(cell(value));
    }
    if (set != nullptr && !any) return;
    if (eval != nullptr && best == step) {
      for (std::string& text : row) text = text.empty() ? "" : "**" + text + "**";
    }
    rows.push_back(std::move(row));
  };
  if (layout.sets.empty() || eval == nullptr) return add(nullptr, layout.best.front());
  for (std::size_t i = 0; i < layout.sets.size(); ++i) add(&layout.sets[i], layout.best[i]);
}

}  // namespace

std::string results_table(const CardFacts& facts) {
  const std::vector<TrainColumn> columns = train_columns(facts);
  std::vector<std::uint64_t> steps = shown_steps(facts.train_curve);
  if (steps.empty() && columns.size() > 1) steps = shown_steps(*columns.front().points);
  // Of very many evaluations, about a hundred, the last and the best.
  const std::size_t stride = facts.evaluations.size() / 100 + 1;
  for (std::size_t i = 0; i < facts.evaluations.size(); i += stride)
    steps.push_back(facts.evaluations[i].step);
  if (!facts.evaluations.empty()) steps.push_back(facts.evaluations.back().step);
  const EvalLayout layout = layout_of(facts);
  for (const std::optional<std::uint64_t>& best : layout.best) {
    if (best && !facts.evaluations.empty()) steps.push_back(*best);
  }
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  if (steps.empty()) return "";
  std::vector<std::string> header = {"step", "epoch"};
  if (!layout.sets.empty()) header.emplace_back("evaluated on");
  for (const TrainColumn& column : columns) header.push_back(column.name);
  header.insert(header.end(), layout.header.begin(), layout.header.end());
  std::vector<std::vector<std::string>> rows;
  for (const std::uint64_t step : steps) add_rows(facts, columns, layout, step, rows);
  const std::string table = md_table(header, rows);
  if (rows.size() <= 30) return table;
  return fmt::format("<details>\n<summary>{} rows</summary>\n\n{}\n</details>\n", rows.size(), table);
}

std::vector<SetLoss> best_losses(const CardFacts& facts) {
  std::vector<SetLoss> sets;
  for (std::size_t i = 0; i < facts.eval_columns.size(); ++i) {
    const EvalColumn column = split_column(facts.eval_columns[i], facts.eval_sets);
    if (column.metric != "loss") continue;
    SetLoss best{column.set, std::numeric_limits<double>::infinity(), 0};
    for (const EvalRow& row : facts.evaluations) {
      const std::optional<double>& loss = row.values[i];
      if (loss && std::isfinite(*loss) && *loss < best.loss) best = {best.name, *loss, row.step};
    }
    if (std::isfinite(best.loss)) sets.push_back(std::move(best));
  }
  return sets;
}

const std::vector<CurvePoint>& plotted_curve(const CardFacts& facts) {
  const MetricCurve* leading = leading_curve(facts);
  return leading == nullptr ? facts.train_curve : leading->points;
}

std::string plotted_label(const CardFacts& facts) {
  return leading_curve(facts) == nullptr ? "loss" : "reward";
}

std::vector<PlottedColumn> plotted_columns(const CardFacts& facts) {
  const MetricCurve* leading = leading_curve(facts);
  const std::string metric = leading == nullptr ? "loss" : leading->metric;
  std::vector<PlottedColumn> columns;
  for (std::size_t i = 0; i < facts.eval_columns.size(); ++i) {
    EvalColumn column = split_column(facts.eval_columns[i], facts.eval_sets);
    if (column.metric == metric) columns.push_back({i, std::move(column.set)});
  }
  return columns;
}

std::optional<double> last_evaluated(const CardFacts& facts, std::string_view metric) {
  if (facts.eval_sets.size() > 1 || facts.evaluations.empty()) return std::nullopt;
  return value_of(facts, facts.evaluations.back(), facts.eval_sets.empty() ? "" : facts.eval_sets.front(),
                  metric);
}

std::string heading_of(std::string_view label) {
  std::string text(label);
  if (!text.empty()) text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  return text;
}

}  // namespace mu
