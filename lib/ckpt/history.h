// SPDX-License-Identifier: Apache-2.0
// What a run logged: the best checkpoint it knows, and the metrics of each one's step. The newest
// trainer_state.json holds the log of all earlier ones.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ckpt/facts.h"
#include "ckpt/runs.h"

namespace mu {

struct MetricWish {
  std::optional<std::string> name;  // "eval_" optional
  std::optional<bool> lower_is_better;
};

// What the training arguments of a run say of its ranking.
struct RankingArguments {
  std::optional<std::string> metric;
  std::optional<bool> greater_is_better;
};

// The metric to rank by: the wish, else the arguments', else eval_loss; "eval_" is put before it where such a
// metric was logged, or nothing else was. Its direction: the wish, the arguments' where they speak of this
// metric, else what its name tells (losses, errors and perplexities are better low; accuracies, F1 and
// rewards high), else nothing.
RankingMetric choose_metric(const MetricWish& wish, const RankingArguments& arguments,
                            const std::vector<std::string>& logged);

// The name of the checkpoint that a state calls its best: the last part of its path that is one here,
// whatever the path looks like (runs get moved, and some were trained on Windows); else the one of
// best_global_step; else the last part, which is gone.
std::string best_name(const TrainerState& state, const std::vector<CheckpointFacts>& checkpoints);

// Tells the runs in the folder apart (lineage.h; checkpoints whose state turns out unsound become torn), and
// sets best, metric, series and the metrics of all checkpoints from their longest logs, or from the state in
// the run folder where that is newer.
void read_history(const RunFolder& folder, const MetricWish& wish, RunFacts& run);

}  // namespace mu
