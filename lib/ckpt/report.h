// SPDX-License-Identifier: Apache-2.0
// Facts, plan and outcome as text, lists and JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckpt/execute.h"
#include "ckpt/facts.h"
#include "ckpt/plan.h"

namespace mu {

// The space that the next checkpoint of a run will take: as much as its newest full one.
struct NextCheckpoint {
  std::uint64_t bytes = 0;
  bool fits = true;
};
// Nullopt before the first complete checkpoint.
std::optional<NextCheckpoint> predict_next(const RunFacts& run);
std::string next_text(const RunFacts& run);  // one sentence; empty if nothing is known

// The checkpoints of a run as a table, with the metric over time; also the verbs, if the plan changes
// something.
std::string list_text(const RunFacts& run, const RunPlan& plan);

// One line for each checkpoint, with verb and reasons, wrapped at `width` columns (0: never), then the totals.
std::string plan_text(const std::vector<RunFacts>& runs, const Plan& plan, std::size_t width);

// Paths of the checkpoints that have this verb: escaped, one a line, or exact and each ended by NUL.
std::string paths_text(const std::vector<RunFacts>& runs, const Plan& plan, Verb verb, bool null);

// Everything as one document, schema modelutils.ckpt-prune/1. `outcomes` is empty unless the plan was carried
// out.
std::string plan_json(const std::vector<RunFacts>& runs, const Plan& plan,
                      const std::vector<Outcome>& outcomes);

// "removed 3 checkpoints, slimmed 1: 5.4 GB freed"; empty if nothing was changed.
std::string outcome_text(const Outcome& outcome);

// What the user should know: torn checkpoints that stay and, if something is to change or `all` is set, the
// warnings of the run (a cron job must not repeat them for ever). Escaped.
std::vector<std::string> warning_lines(const RunFacts& run, const RunPlan& plan, bool all);

// "best evaluated step 350 (eval_loss 1.21) was never saved; best saved is 300"; empty if the best was saved.
std::string unsaved_best_text(const RunFacts& run);

// Block characters of eight heights, the lowest value lowest; values that are not finite are blanks. At most
// `width` characters, each the mean of the values it stands for.
std::string sparkline(const std::vector<double>& values, std::size_t width);

}  // namespace mu
