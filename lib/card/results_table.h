// SPDX-License-Identifier: Apache-2.0
// The course of a training: the table of a card, and the curve that its plot shows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "card/facts.h"

namespace mu {

// Rows for the evaluations and a dozen other steps; empty if nothing was logged. An evaluation's row carries what
// the training last logged.
std::string results_table(const CardFacts& facts);

// The best loss of each evaluation set; one without a name if there is only one.
struct SetLoss {
  std::string name;
  double loss;
  std::uint64_t step;
};
std::vector<SetLoss> best_losses(const CardFacts& facts);

// The curve that tells most, by step: the reward of a run that has one, else the loss. Its name in words.
const std::vector<CurvePoint>& plotted_curve(const CardFacts& facts);
std::string plotted_label(const CardFacts& facts);
// The column of the evaluations that belongs to it, for each evaluation set, with the name of the set.
struct PlottedColumn {
  std::size_t column;
  std::string set;
};
std::vector<PlottedColumn> plotted_columns(const CardFacts& facts);

// What a metric was in the last evaluation; nothing with several evaluation sets.
std::optional<double> last_evaluated(const CardFacts& facts, std::string_view metric);

std::string heading_of(std::string_view label);  // "Reward std"

}  // namespace mu
