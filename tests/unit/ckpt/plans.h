// SPDX-License-Identifier: Apache-2.0
// Facts of runs and policies for the tests of plans, and plans as short texts.
#pragma once

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.h"
#include "ckpt/plan.h"
#include "ckpt/planner.h"
#include "testing.h"

namespace mu::testing {

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

inline constexpr std::int64_t kHour = 3600 * kSecond;
inline constexpr std::int64_t kNow = 1'000'000 * kSecond;
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A complete, resumable checkpoint of 100 bytes, 60 of them for resuming, saved an hour apart from the next.
inline CheckpointFacts checkpoint(std::uint64_t step, std::optional<double> loss = std::nullopt) {
  CheckpointFacts c;
  c.name = fmt::format("checkpoint-{}", step);
  c.number = step;
  c.lineage = 0;
  c.stamp = {{1, step + 1}, 0, 0, 0};
  c.time_ns = c.changed_ns = kNow - kHour * (100 - static_cast<std::int64_t>(step) / 100);
  c.condition = Condition::kResumable;
  c.has_optimizer = true;
  c.training_entries = {{"optimizer.pt", {1, 1000 + step}}};
  c.bytes = 100;
  c.training_bytes = 60;
  if (loss) c.metrics.push_back({0, *loss});
  return c;
}

inline RunFacts run_of(std::vector<CheckpointFacts> checkpoints) {
  RunFacts run;
  run.path = "run";
  run.device = 1;
  run.now_ns = kNow;
  run.free_bytes = 1000;
  run.metric = {"eval_loss", true};
  run.metric_names = {"eval_loss"};
  run.checkpoints = std::move(checkpoints);
  return run;
}

inline RunFacts five() {
  return run_of({checkpoint(100, 5.0), checkpoint(200, 2.0), checkpoint(300, 3.0), checkpoint(400, 2.0),
                 checkpoint(500, 4.0)});
}

// Verbs by their first letters, oldest first: "rrkk"; upper case if the run has a failure.
inline std::string verbs(const RunPlan& plan) {
  std::string out;
  for (const PlanItem& item : plan.items) out += verb_name(item.verb).front();
  return out;
}

inline std::string verbs(const RunFacts& run, const Policy& policy) {
  return verbs(make_plan({run}, policy).runs[0]);
}

inline Policy keep(std::uint64_t last) {
  Policy policy;
  policy.keep_last = last;
  return policy;
}

inline void tear(CheckpointFacts& c) {
  c.condition = Condition::kTorn;
  c.why = "cut";
}

inline std::string reasons(const Plan& plan, std::size_t i) {
  return join(plan.runs[0].items[i].reasons, "; ");
}

}  // namespace mu::testing
