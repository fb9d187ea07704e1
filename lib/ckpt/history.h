// SPDX-License-Identifier: Apache-2.0
// What a run has logged: its best checkpoint, and the metrics at the step of each checkpoint. The newest
// trainer_state.json holds the logs of all earlier ones.
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

// What the training arguments of a run say about ranking.
struct RankingArguments {
  std::optional<std::string> metric;
  std::optional<bool> greater_is_better;
};

// Chooses the metric to rank by: the user's wish, else that of the training arguments, else eval_loss.
// "eval_" is put before it if such a metric was logged, or if the name alone was not. Its direction: the
// user's wish, else the arguments' if they are about this metric, else what its name tells (losses, errors
// and perplexities are better low; accuracies, F1 and rewards high), else unknown.
RankingMetric choose_metric(const MetricWish& wish, const RankingArguments& arguments,
                            const std::vector<std::string>& logged);

// The name of the checkpoint that a state calls its best: the last component of its path that is a checkpoint
// here, whatever the path looks like (runs get moved, and some were trained on Windows); else the checkpoint
// of best_global_step; else the last component, although that is gone.
std::string best_name(const TrainerState& state, const std::vector<CheckpointFacts>& checkpoints);

// Separates the runs in the folder (lineage.h; a checkpoint whose state turns out unsound becomes torn). Then
// sets best, metric, series and the metrics of all checkpoints from the longest log of each run, or from the
// state in the run folder if that is newer.
void read_history(const RunFolder& folder, const MetricWish& wish, RunFacts& run);

}  // namespace mu
