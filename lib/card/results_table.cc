// SPDX-License-Identifier: Apache-2.0
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

// "eval_rewards/margins" -> "validation margin", "eval_math_loss" -> "math loss".
std::string column_name(const CardFacts& facts, const std::string& column) {
  if (column == "eval_loss") return "validation loss";
  std::string name = column.substr(5);
  for (const MetricCurve& curve : facts.metrics) {
    if (name == curve.metric) return md_text("validation " + curve.label);
    if (name.ends_with("_" + curve.metric))
      name.replace(name.size() - curve.metric.size(), curve.metric.size(), curve.label);
  }
  std::replace(name.begin(), name.end(), '_', ' ');
  return md_text(name);
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

std::vector<std::string> row_of(const CardFacts& facts, const std::vector<TrainColumn>& columns,
                                std::uint64_t step) {
  const auto eval = std::lower_bound(facts.evaluations.begin(), facts.evaluations.end(), step,
                                     [](const EvalRow& r, std::uint64_t s) { return r.step < s; });
  const bool evaluated = eval != facts.evaluations.end() && eval->step == step;
  std::string epoch;
  std::vector<std::string> numbers;
  for (const TrainColumn& column : columns) {
    const CurvePoint* point = last_point(*column.points, step);
    const bool now = point != nullptr && point->step == step;
    if (now && epoch.empty()) epoch = cell(point->epoch);
    const bool too_early = evaluated && point == nullptr && !column.points->empty();
    numbers.push_back(now || (evaluated && point != nullptr) ? fmt::format("{:.4g}", point->value)
                      : too_early                            ? "no log"
                                                             : "");
  }
  if (epoch.empty() && evaluated) epoch = cell(eval->epoch);
  std::vector<std::string> row = {std::to_string(step), epoch};
  row.insert(row.end(), numbers.begin(), numbers.end());
  for (std::size_t i = 0; i < facts.eval_columns.size(); ++i)
    row.push_back(evaluated ? cell(eval->values[i]) : "");
  if (evaluated && facts.best_step == step) {
    for (std::string& text : row) text = text.empty() ? "" : "**" + text + "**";
  }
  return row;
}

// The first headline that leads, or null: then the loss leads.
const MetricCurve* leading_curve(const CardFacts& facts) {
  const bool reward =
      facts.metrics_first && !facts.metrics.empty() && facts.metrics.front().label == "reward";
  return reward ? &facts.metrics.front() : nullptr;
}

}  // namespace

std::string results_table(const CardFacts& facts) {
  const std::vector<TrainColumn> columns = train_columns(facts);
  std::vector<std::uint64_t> steps = shown_steps(facts.train_curve);
  if (steps.empty() && columns.size() > 1) steps = shown_steps(*columns.front().points);
  for (const EvalRow& row : facts.evaluations) steps.push_back(row.step);
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  if (steps.empty()) return "";
  std::vector<std::string> header = {"step", "epoch"};
  for (const TrainColumn& column : columns) header.push_back(column.name);
  for (const std::string& column : facts.eval_columns) header.push_back(column_name(facts, column));
  std::vector<std::vector<std::string>> rows;
  rows.reserve(steps.size());
  for (const std::uint64_t step : steps) rows.push_back(row_of(facts, columns, step));
  const std::string table = md_table(header, rows);
  if (rows.size() <= 30) return table;
  return fmt::format("<details>\n<summary>{} rows</summary>\n\n{}\n</details>\n", rows.size(), table);
}

std::vector<SetLoss> best_losses(const CardFacts& facts) {
  std::vector<SetLoss> sets;
  for (std::size_t i = 0; i < facts.eval_columns.size(); ++i) {
    const std::string& column = facts.eval_columns[i];
    const std::string_view set = eval_set(column);
    if (column != "eval_loss" && (set.empty() || set.find('/') != std::string_view::npos)) continue;
    SetLoss best{std::string(set), std::numeric_limits<double>::infinity(), 0};
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
    std::string_view name = facts.eval_columns[i];
    if (name == "eval_" + metric) {
      columns.push_back({i, ""});
    } else if (name.ends_with("_" + metric) && name.find('/') == std::string_view::npos) {
      name.remove_prefix(5);
      name.remove_suffix(metric.size() + 1);
      columns.push_back({i, std::string(name)});
    }
  }
  return columns;
}

std::string heading_of(std::string_view label) {
  std::string text(label);
  if (!text.empty()) text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  return text;
}

}  // namespace mu
