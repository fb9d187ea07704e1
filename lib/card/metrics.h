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

// Orders the columns of the evaluations alike and drops those that a table has no room for.
void order_eval_columns(std::vector<std::string>& columns, const std::vector<Headline>& headlines);

// The first column with a loss.
std::optional<std::size_t> loss_column(const std::vector<std::string>& columns);

// The name of the evaluation set in "eval_NAME_loss"; empty for "eval_loss" and other columns.
std::string_view eval_set(std::string_view column);

}  // namespace mu
