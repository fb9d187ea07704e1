// SPDX-License-Identifier: Apache-2.0
// Plans: what each rule keeps, alone and together.
#include "plans.h"

#include <doctest/doctest.h>

#include <limits>

using namespace mu;
using namespace mu::testing;

namespace {

// What a policy does to the five checkpoints of five().
template <typename Set>
void expect_verbs(const char* what, Set set, std::string_view expected) {
  CAPTURE(what);
  Policy policy;
  set(policy);
  CHECK(verbs(five(), policy) == expected);
}

}  // namespace

TEST_CASE("plan: each rule alone, and together") {
  expect_verbs(
      "last 2", [](Policy& p) { p.keep_last = 2; }, "rrrkk");
  expect_verbs(
      "last 0 keeps what is protected", [](Policy& p) { p.keep_last = 0; }, "rrrrk");
  expect_verbs(
      "last of more than there are", [](Policy& p) { p.keep_last = 9; }, "kkkkk");
  expect_verbs(
      "best 1, the earlier of equal ones", [](Policy& p) { p.keep_best = 1; }, "rkrrk");
  expect_verbs(
      "best 2", [](Policy& p) { p.keep_best = 2; }, "rkrkk");
  expect_verbs(
      "best 3", [](Policy& p) { p.keep_best = 3; }, "rkkkk");
  expect_verbs(
      "best 0", [](Policy& p) { p.keep_best = 0; }, "rrrrk");
  expect_verbs(
      "every 200", [](Policy& p) { p.keep_every = 200; }, "rkrkk");
  expect_verbs(
      "step 100 and one that is not there",
      [](Policy& p) {
        p.keep_steps = {100, 7};
      },
      "krrrk");
  expect_verbs(
      "within an hour of the newest", [](Policy& p) { p.keep_within_seconds = 3600; }, "rrrkk");
  expect_verbs(
      "within three hours", [](Policy& p) { p.keep_within_seconds = 3 * 3600; }, "rkkkk");
  expect_verbs(
      "united", [](Policy& p) { p.keep_last = 1, p.keep_every = 300, p.keep_steps = {100}; }, "krkrk");
}

TEST_CASE("plan: slimming and limits, by themselves and after rules") {
  expect_verbs(
      "slim all but the last", [](Policy& p) { p.keep_optimizer_last = 1; }, "ssssk");
  expect_verbs(
      "slim with a rule", [](Policy& p) { p.keep_last = 3, p.keep_optimizer_last = 2; }, "rrskk");
  expect_verbs(
      "the newest is never slimmed", [](Policy& p) { p.keep_last = 2, p.keep_optimizer_last = 0; }, "rrrsk");
  expect_verbs(
      "a limit alone starts from everything", [](Policy& p) { p.max_total = 300; }, "rrkkk");
  expect_verbs(
      "a limit that fits", [](Policy& p) { p.max_total = 500; }, "kkkkk");
  expect_verbs(
      "a limit after a rule", [](Policy& p) { p.keep_every = 100, p.max_total = 200; }, "rrrkk");
  expect_verbs(
      "a limit that can't be met keeps what is protected", [](Policy& p) { p.max_total = 1; }, "rrrrk");
  expect_verbs(
      "free space", [](Policy& p) { p.min_free = 1150; }, "rrkkk");
  expect_verbs(
      "free space that is there", [](Policy& p) { p.min_free = 1000; }, "kkkkk");
  Policy both;
  both.keep_optimizer_last = 1;
  both.max_total = 220;  // slimmed to 260, so one goes
  const Plan plan = make_plan({five()}, both);
  CHECK(verbs(plan.runs[0]) == "rsssk");
  CHECK(plan.bytes_after == 220);
  CHECK(plan.runs[0].items[0].frees == 100);
  CHECK(plan.runs[0].items[1].frees == 60);
}

TEST_CASE("plan: the metric ranks by its direction; NaN, infinite and missing never do") {
  RunFacts run = run_of({checkpoint(100, kNan), checkpoint(200, -std::numeric_limits<double>::infinity()),
                         checkpoint(300, 2.0), checkpoint(400, 3.0), checkpoint(500), checkpoint(600, 9.0)});
  Policy policy;
  policy.keep_best = 1;
  CHECK(verbs(run, policy) == "rrkrrk");
  run.metric.lower_is_better = false;
  policy.keep_best = 2;
  CHECK(verbs(run, policy) == "rrrkrk");
  run.metric.lower_is_better = std::nullopt;
  CHECK(error_of([&] { make_plan({run}, policy); }) == ErrorKind::kUsage);
  run.metric = {"eval_nobody", true};
  const Plan none = make_plan({run}, policy);
  REQUIRE(none.runs[0].failure.has_value());
  CHECK(none.runs[0].failure->kind() == ErrorKind::kMalformed);
  CHECK(verbs(none.runs[0]) == "kkkkkk");
  // Nothing would go anyway: a young run without an evaluation is not a fault.
  CHECK_FALSE(make_plan({run_of({checkpoint(100)})}, policy).runs[0].failure.has_value());
}

TEST_CASE("plan: epochs end at whole numbers") {
  RunFacts run = five();
  const double epochs[] = {0.5, 1.0, 1.5, 2.0, 2.2};
  for (std::size_t i = 0; i < 5; ++i) run.checkpoints[i].epoch = epochs[i];
  Policy policy;
  policy.keep_epochs = true;
  CHECK(verbs(run, policy) == "rkrkk");
}

TEST_CASE("plan: what is protected, and why") {
  RunFacts run = five();
  run.best = "checkpoint-100";
  run.checkpoints[1].has_keep_file = true;
  run.checkpoints[2].linked_by = "/runs/latest";
  run.checkpoints[3].writer = "77";
  Plan plan = make_plan({run}, keep(0));
  CHECK(verbs(plan.runs[0]) == "kkkkk");
  CHECK(reasons(plan, 0) == "best of the run");
  CHECK(reasons(plan, 1) == "it holds a file KEEP");
  CHECK(reasons(plan, 2) == "the link /runs/latest points here");
  CHECK(reasons(plan, 3) == "process 77 writes to it");
  CHECK(reasons(plan, 4) == "newest resumable");

  run = five();
  run.keep_names = {"100", "checkpoint-200"};
  run.checkpoints[2].has_mount = true;
  run.checkpoints[3].condition = Condition::kUnreadable;
  CHECK(verbs(run, keep(0)) == "kkkkk");
  Policy pins = keep(0);
  pins.pins = {{300, "", std::nullopt},
               {std::nullopt, "checkpoint-100", std::nullopt},
               {std::nullopt, "", FileId{1, 201}}};
  CHECK(verbs(five(), pins) == "kkkrk");
  // Pinned ones stay whole, the best one may be slimmed.
  pins.keep_optimizer_last = 1;
  run = five();
  run.best = "checkpoint-400";
  CHECK(verbs(run, pins) == "kkksk");
  // A best that is gone, or torn, changes nothing.
  run.best = "checkpoint-50";
  CHECK(verbs(run, keep(1)) == "rrrrk");
}

TEST_CASE("plan: the newest resumable is the newest by step that has an optimizer") {
  RunFacts run = five();
  run.checkpoints[4].condition = Condition::kInferenceOnly;
  run.checkpoints[3].time_ns = 1;  // times lie
  CHECK(verbs(run, keep(1)) == "rrrkk");
  CHECK(verbs(run, keep(0)) == "rrrkr");
  CHECK(make_plan({run}, keep(0)).runs[0].anchor == 3);
}

TEST_CASE("plan: nothing resumable and something to remove is refused") {
  RunFacts run = five();
  for (CheckpointFacts& c : run.checkpoints) c.condition = Condition::kInferenceOnly;
  const Plan refused = make_plan({run}, keep(2));
  REQUIRE(refused.runs[0].failure.has_value());
  CHECK(refused.runs[0].failure->kind() == ErrorKind::kRefused);
  CHECK(verbs(refused.runs[0]) == "kkkkk");
  CHECK_FALSE(make_plan({run}, keep(5)).runs[0].failure.has_value());
  Policy allowed = keep(0);
  allowed.allow_unresumable = true;
  CHECK(verbs(run, allowed) == "rrrrk");
  Policy limit;
  limit.max_total = 100;
  const Plan limited = make_plan({run}, limit);
  REQUIRE(limited.runs[0].failure.has_value());
  CHECK(limited.runs[0].failure->kind() == ErrorKind::kRefused);
  CHECK(verbs(limited.runs[0]) == "kkkkk");
  limit.allow_unresumable = true;
  CHECK(verbs(run, limit) == "rrrrk");
}

TEST_CASE(
    "plan: a run of which no checkpoint is whole is touched only with leave, its newest never removed") {
  RunFacts torn = run_of({checkpoint(100), checkpoint(200), checkpoint(300)});
  for (CheckpointFacts& c : torn.checkpoints) tear(c);
  for (const TornAction action : {TornAction::kRemove, TornAction::kAside}) {
    Policy policy;
    policy.torn = action;
    const Plan plan = make_plan({torn, five()}, policy);
    REQUIRE(plan.runs[0].failure.has_value());
    CHECK(plan.runs[0].failure->kind() == ErrorKind::kRefused);
    CHECK(verbs(plan.runs[0]) == "kkk");
    CHECK_FALSE(plan.runs[1].failure.has_value());
    policy.allow_unresumable = true;
    CHECK(verbs(torn, policy) == (action == TornAction::kRemove ? "rrk" : "aaa"));
    // An unreadable one may be complete or not: it does not help.
    policy.allow_unresumable = false;
    RunFacts unreadable = torn;
    unreadable.checkpoints[0].condition = Condition::kUnreadable;
    CHECK(make_plan({unreadable}, policy).runs[0].failure.has_value());
    // Nothing would be touched: a young run is not a fault.
    RunFacts young = run_of({checkpoint(300)});
    tear(young.checkpoints[0]);
    young.checkpoints[0].changed_ns = kNow - 600 * kSecond;
    CHECK_FALSE(make_plan({young}, policy).runs[0].failure.has_value());
  }
}

TEST_CASE(
    "plan: a run that only saves models needs no leave, but one resumable checkpoint brings the rule back") {
  RunFacts run = five();
  for (CheckpointFacts& c : run.checkpoints) {
    c.condition = Condition::kInferenceOnly;
    c.saves_model_only = true;
  }
  CHECK(verbs(run, keep(2)) == "rrrkk");
  Policy limit;
  limit.max_total = 100;
  CHECK(verbs(run, limit) == "rrrrk");
  run.checkpoints[3].saves_model_only = false;  // its optimizer may have been lost by accident
  CHECK(make_plan({run}, keep(2)).runs[0].failure->kind() == ErrorKind::kRefused);
  CHECK(make_plan({run}, limit).runs[0].failure->kind() == ErrorKind::kRefused);
  run = five();
  for (std::size_t i = 1; i < 5; ++i) {
    run.checkpoints[i].condition = Condition::kInferenceOnly;
    run.checkpoints[i].saves_model_only = true;
  }
  CHECK(verbs(run, keep(1)) == "krrrk");
}

TEST_CASE("plan: --keep-best without an evaluation anywhere asks for nothing") {
  RunFacts run = five();
  run.has_evaluations = false;
  run.metric = {"eval_loss", std::nullopt, false, false};
  Policy policy;
  policy.keep_best = 1;
  CHECK(verbs(run, policy) == "kkkkk");  // alone it is not a rule
  CHECK(make_plan({run}, policy).runs[0].notes.empty());
  policy.keep_last = 2;
  Plan plan = make_plan({run}, policy);
  CHECK(verbs(plan.runs[0]) == "rrrkk");
  CHECK(plan.runs[0].notes.size() == 1);
  policy.keep_last = 9;
  CHECK(make_plan({run}, policy).runs[0].notes.empty());
  // The user named a metric that no log has: refused by its name, whatever its direction.
  run.metric = {"eval_los", std::nullopt, true, false};
  policy.keep_last = 1;
  plan = make_plan({run}, policy);
  REQUIRE(plan.runs[0].failure.has_value());
  CHECK(plan.runs[0].failure->kind() == ErrorKind::kMalformed);
  CHECK(contains(plan.runs[0].failure->what(), "eval_los"));
  policy.keep_last = 9;  // nothing would go: the run may be young …
  CHECK_FALSE(make_plan({run}, policy).runs[0].failure.has_value());
  run.has_evaluations = true;  // … but others were logged
  CHECK(make_plan({run}, policy).runs[0].failure->kind() == ErrorKind::kMalformed);
}

TEST_CASE("plan: torn checkpoints count for no rule and go only when asked for") {
  RunFacts run = five();
  tear(run.checkpoints[1]);
  tear(run.checkpoints[4]);
  CHECK(verbs(run, keep(2)) == "rkkkk");
  Policy policy = keep(1);
  policy.torn = TornAction::kAside;
  CHECK(verbs(run, policy) == "rarka");
  policy.torn = TornAction::kRemove;
  CHECK(verbs(run, policy) == "rrrkr");
  // The newest is left for an hour, another one for two minutes, and a clock that ran ahead counts as now.
  run.checkpoints[4].changed_ns = kNow - 59 * 60 * kSecond;
  run.checkpoints[1].changed_ns = kNow - 121 * kSecond;
  CHECK(verbs(run, policy) == "rrrkk");
  policy.torn_age_seconds = 58 * 60;
  CHECK(verbs(run, policy) == "rrrkr");
  run.checkpoints[4].changed_ns = run.checkpoints[1].changed_ns = kNow + kHour;
  policy.torn_age_seconds = 0;
  const Plan plan = make_plan({run}, policy);
  CHECK(verbs(plan.runs[0]) == "rkrkk");
  CHECK(reasons(plan, 1) == "being written: cut");
  // Limits never touch them.
  Policy limit;
  limit.max_total = 1;
  CHECK(verbs(run, limit) == "rkrkk");
}

TEST_CASE("plan: --keep-within and a clock that jumped") {
  RunFacts run = five();
  Policy policy;
  policy.keep_within_seconds = 2 * 3600 + 100 * 3600;
  run.checkpoints[4].time_ns = kNow + 10'000 * kHour;  // the newest was saved "in the future"
  CHECK(verbs(run, policy) == "kkkkk");
  run = five();
  run.checkpoints[0].time_ns = kNow + kHour;
  policy.keep_within_seconds = 60;
  CHECK(verbs(run, policy) == "krrrk");
}
