// SPDX-License-Identifier: Apache-2.0
// Which numbers of a log tell how a training went. It is the names that decide, not the method: every trainer of
// one kind logs the same names.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

struct Headline {
  std::string_view metric, label;  // "rewards/accuracies", "accuracy"
  bool before_loss;                // it tells more than the loss does
};

// The metrics to show of a log with these names, the most telling first.
std::vector<Headline> headlines_of(const std::vector<std::string>& names);

// Whether a number is bookkeeping and not a result: Transformers' Trainer and its example scripts write such numbers
// beside the metrics, about the training, the time it took and how much was evaluated (trainer.py, trainer_utils.py
// speed_metrics, trainer_pt_utils.py metrics_format and save_metrics).
bool keeps_books(std::string_view name);

// The names of the evaluation sets of a log, "" for one without a name. "eval_NAME_loss" shows them; the trainers
// add the name to the loss and the times only, so that other metrics belong to the loss beside them.
std::vector<std::string> eval_sets(const std::vector<std::string>& names);

// "eval_math_rewards/margins" of a set "math" -> "math" and "rewards/margins".
struct EvalColumn {
  std::string set, metric;
};
EvalColumn split_column(std::string_view column, const std::vector<std::string>& sets);

// Orders the columns of the evaluations as the headlines and drops those that a table has no room for.
void order_eval_columns(std::vector<std::string>& columns, const std::vector<Headline>& headlines,
                        const std::vector<std::string>& sets);

// The first column with a loss.
std::optional<std::size_t> loss_column(const std::vector<std::string>& columns,
                                       const std::vector<std::string>& sets);

}  // namespace mu
