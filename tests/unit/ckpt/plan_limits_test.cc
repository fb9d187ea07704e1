// SPDX-License-Identifier: Apache-2.0
// Plans over several runs: limits, files with several names, and what holds for any plan.
#include "plans.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "ckpt/ledger.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE("plan: limits act over all runs, the oldest in time first, by step within a run") {
  RunFacts a = five(), b = five();
  b.path = "other";
  for (CheckpointFacts& c : b.checkpoints) {
    c.time_ns -= kHour / 2;
    c.stamp.id.inode += 5000;
  }
  a.checkpoints[1].time_ns = 1;  // older than its predecessor by time, later by step
  Policy policy;
  policy.max_total = 700;
  const Plan plan = make_plan({a, b}, policy);
  // b's 100 is the oldest, then a's 100, which frees the way to a's 200.
  CHECK(verbs(plan.runs[0]) == "rrkkk");
  CHECK(verbs(plan.runs[1]) == "rkkkk");
  CHECK(plan.bytes_before == 1000);
  CHECK(plan.bytes_after == 700);
  policy.max_total = 150;
  const Plan tight = make_plan({a, b}, policy);
  CHECK(tight.over_total == 50);
  policy.max_total = std::nullopt;
  policy.min_free = 1900;
  CHECK(make_plan({a, b}, policy).short_of_free == 100);
  // Each file system separately.
  b.device = 2;
  b.free_bytes = 5000;
  policy.min_free = 1100;
  const Plan two = make_plan({a, b}, policy);
  CHECK(verbs(two.runs[0]) == "rkkkk");
  CHECK(verbs(two.runs[1]) == "kkkkk");
}

TEST_CASE("plan: a file with several names takes its space once and frees it with its last name") {
  RunFacts run = run_of({checkpoint(100), checkpoint(200), checkpoint(300)});
  for (std::size_t i = 0; i < 3; ++i)
    run.checkpoints[i].shared = {{{1, 7}, 1000, 3, false}, {{1, 8}, 500, 9, true}};
  const std::vector<RunFacts> runs = {run};
  Ledger counted(runs);
  CHECK(counted.used() == 300 + 1500);
  CHECK(counted.remove(0, 0) == 100);
  CHECK(counted.slim(0, 1) == 60);
  CHECK(counted.remove(0, 1) == 40);
  CHECK(counted.freed(1) == 200);
  CHECK(counted.remove(0, 2) == 100 + 1500);
  CHECK(counted.freed(1) == 300 + 1000);  // six more names of the other are elsewhere
  CHECK(counted.used() == 0);
}

namespace {

// Runs and policies of every kind, at random.
class Random {
 public:
  RunFacts run(unsigned long number) {
    RunFacts run = run_of({});
    run.path = fmt::format("run{}", number);
    run.device = 1 + random_() % 2;
    run.free_bytes = random_() % 2000;
    const bool many_runs = one_in(3), ranks_only = one_in(8), model_only = one_in(5);
    std::uint64_t step = 0;
    for (unsigned long i = 0, many = random_() % 12; i < many; ++i) {
      step += 1 + random_() % 500;
      CheckpointFacts c = one_checkpoint(step);
      c.stamp.id.inode += number * 1'000'000;
      if (many_runs && c.lineage) c.lineage = random_() % 3;
      c.saves_model_only = model_only;
      if (ranks_only)
        c.is_rank_only = true, c.condition = Condition::kInferenceOnly, c.saves_model_only = false;
      if (i == 0 && one_in(6)) c.is_staging = true, c.condition = Condition::kTorn, c.number.reset();
      run.checkpoints.push_back(std::move(c));
    }
    if (many_runs) run.other_bests = {fmt::format("checkpoint-{}", random_() % 900), "x"};
    for (const CheckpointFacts& c : run.checkpoints) {
      if (one_in(12)) run.trackers.push_back({"latest", c.name, c.name, {}, c.time_ns + kSecond});
    }
    if (!run.checkpoints.empty() && one_in(2))
      run.best = run.checkpoints[random_() % run.checkpoints.size()].name;
    return run;
  }

  std::vector<RunFacts> runs() {
    std::vector<RunFacts> runs;
    for (unsigned long r = 0, count = 1 + random_() % 3; r < count; ++r) runs.push_back(run(r));
    return runs;
  }

  Policy policy() {
    Policy policy;
    if (one_in(2)) policy.keep_last = random_() % 4;
    if (one_in(3)) policy.keep_best = random_() % 4;
    if (one_in(3)) policy.keep_every = 1 + random_() % 700;
    if (one_in(4)) policy.keep_epochs = true;
    if (one_in(3)) policy.keep_within_seconds = static_cast<std::uint32_t>(random_() % 100'000);
    if (one_in(3)) policy.keep_optimizer_last = random_() % 3;
    if (one_in(3)) policy.max_total = random_() % 3000;
    if (one_in(3)) policy.min_free = random_() % 3000;
    policy.torn = static_cast<TornAction>(random_() % 3);
    policy.allow_unresumable = one_in(3);
    if (one_in(5)) policy.follow = Followed{"there", {100, 300}, {}};
    return policy;
  }

 private:
  bool one_in(unsigned n) { return random_() % n == 0; }

  CheckpointFacts one_checkpoint(std::uint64_t step) {
    CheckpointFacts c = checkpoint(step);
    c.time_ns = kNow + static_cast<std::int64_t>(random_() % 200'000) * kSecond - 190'000 * kSecond;
    c.changed_ns = c.time_ns;
    c.condition = static_cast<Condition>(one_in(3) ? random_() % 4 : 0);
    c.why = c.condition == Condition::kResumable ? "" : "reason";
    if (c.condition != Condition::kResumable && one_in(2))
      c.slim_block = "blocked", c.training_entries.clear();
    if (!one_in(4)) c.metrics.push_back({0, one_in(6) ? kNan : static_cast<double>(random_() % 50)});
    if (!one_in(4)) c.epoch = static_cast<double>(step) / 300;
    if (one_in(9)) c.writer = "1";
    if (one_in(9)) c.linked_by = "link";
    if (one_in(9)) c.has_keep_file = true;
    if (one_in(9)) c.has_mount = true;
    if (one_in(2)) c.shared = {{{1, random_() % 5}, 1000, 1 + random_() % 8, one_in(2)}};
    if (one_in(3)) c.lineage.reset();
    c.shows_complete = !one_in(6);
    return c;
  }

  std::mt19937 random_{20261125};
};

void check_item(const RunFacts& run, const CheckpointFacts& c, const PlanItem& item, const Policy& policy,
                bool failed, bool ranks_only) {
  CHECK_FALSE(item.reasons.empty());
  if (std::any_of(run.trackers.begin(), run.trackers.end(),
                  [&c](const Tracker& t) { return t.entry == c.name && c.is_complete(); }))
    CHECK(item.verb == Verb::kKeep);
  const bool stays_whole = c.writer || c.linked_by || c.has_keep_file || c.has_mount ||
                           c.condition == Condition::kUnreadable || is_being_written(c, kNow);
  if (stays_whole) CHECK(item.verb == Verb::kKeep);
  if (c.name == run.best && c.is_complete()) CHECK((item.verb == Verb::kKeep || item.verb == Verb::kSlim));
  if (c.condition == Condition::kTorn && policy.torn == TornAction::kKeep && !ranks_only)
    CHECK(item.verb == Verb::kKeep);
  if (item.verb == Verb::kAside) CHECK(c.condition == Condition::kTorn);
  if (item.verb == Verb::kSlim) CHECK((c.is_complete() && c.slim_block.empty()));
  if (failed) CHECK(item.verb == Verb::kKeep);
}

void check_run(const RunFacts& facts, const RunPlan& run, const Policy& policy) {
  REQUIRE(run.items.size() == facts.checkpoints.size());
  bool resumable_before = false, resumable_after = false, complete_after = false, loses = false;
  bool model_only = true;
  const bool ranks_only =
      std::all_of(facts.checkpoints.begin(), facts.checkpoints.end(),
                  [](const CheckpointFacts& c) { return c.is_staging || c.is_rank_only; });
  for (std::size_t i = 0; i < run.items.size(); ++i) {
    const CheckpointFacts& c = facts.checkpoints[i];
    const PlanItem& item = run.items[i];
    check_item(facts, c, item, policy, run.failure.has_value(), ranks_only);
    model_only = model_only && (!c.is_complete() || c.saves_model_only);
    loses = loses || item.verb == Verb::kRemove || item.verb == Verb::kSlim;
    const bool usable = c.condition == Condition::kResumable && !c.writer;
    resumable_before = resumable_before || usable;
    resumable_after = resumable_after || (usable && item.verb == Verb::kKeep);
    complete_after = complete_after || (c.is_complete() && item.verb != Verb::kRemove);
  }
  CHECK(resumable_before == resumable_after);
  const bool has_leave = policy.allow_unresumable || model_only || (ranks_only && policy.follow);
  if (loses && !has_leave) CHECK(resumable_after);
  const bool is_exact = ranks_only && policy.follow;
  if (loses && !is_exact &&
      std::any_of(facts.checkpoints.begin(), facts.checkpoints.end(),
                  [](const CheckpointFacts& c) { return c.is_complete() && !c.writer; }))
    CHECK(complete_after);
}

}  // namespace

// Nothing in two lists, nothing lost, protected ones never planned for, the same plan twice, a real
// checkpoint to resume from at the end, and every number adds up: on random runs under random policies.
TEST_CASE("plan: invariants on random runs and policies") {
  Random random;
  for (int round = 0; round < 4000; ++round) {
    const std::vector<RunFacts> runs = random.runs();
    const Policy policy = random.policy();
    CAPTURE(round);
    const Plan plan = make_plan(runs, policy);
    const Plan again = make_plan(runs, policy);
    REQUIRE(plan.runs.size() == runs.size());
    std::uint64_t freed = 0;
    for (std::size_t r = 0; r < runs.size(); ++r) {
      check_run(runs[r], plan.runs[r], policy);
      for (std::size_t i = 0; i < plan.runs[r].items.size(); ++i) {
        const PlanItem& item = plan.runs[r].items[i];
        CHECK(item.verb == again.runs[r].items[i].verb);
        CHECK(item.reasons == again.runs[r].items[i].reasons);
        freed += runs[r].checkpoints[i].is_staging ? 0 : item.frees;
      }
    }
    CHECK(plan.bytes_before - plan.bytes_after == freed);
    if (policy.max_total && plan.over_total == 0) CHECK(plan.bytes_after <= *policy.max_total);
  }
}
