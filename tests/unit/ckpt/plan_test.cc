// SPDX-License-Identifier: Apache-2.0
#include "ckpt/plan.h"
#include "ckpt/planner.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <random>
#include <set>

#include "base/text.h"
#include "ckpt/ledger.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kHour = 3600 * kSecond;
constexpr std::int64_t kNow = 1'000'000 * kSecond;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A complete, resumable checkpoint of 100 bytes, 60 of them for resuming, saved an hour apart from the next.
CheckpointFacts checkpoint(std::uint64_t step, std::optional<double> loss = std::nullopt) {
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

RunFacts run_of(std::vector<CheckpointFacts> checkpoints) {
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

RunFacts five() {
  return run_of({checkpoint(100, 5.0), checkpoint(200, 2.0), checkpoint(300, 3.0), checkpoint(400, 2.0),
                 checkpoint(500, 4.0)});
}

// Verbs by their first letters, oldest first: "rrkk", and an upper-case letter for a failure of the run.
std::string verbs(const RunPlan& plan) {
  std::string out;
  for (const PlanItem& item : plan.items) out += verb_name(item.verb).front();
  return out;
}

std::string verbs(const RunFacts& run, const Policy& policy) {
  return verbs(make_plan({run}, policy).runs[0]);
}

Policy keep(std::uint64_t last) {
  Policy policy;
  policy.keep_last = last;
  return policy;
}

void tear(CheckpointFacts& c) {
  c.condition = Condition::kTorn;
  c.why = "cut";
}

std::string reasons(const Plan& plan, std::size_t i) {
  return join(plan.runs[0].items[i].reasons, "; ");
}

}  // namespace

TEST_CASE("plan: each rule by itself, and united") {
  struct Row {
    const char* what;
    Policy policy;
    const char* verbs;
  };
  std::vector<Row> rows;
  const auto add = [&rows](const char* what, auto set, const char* expected) {
    Policy policy;
    set(policy);
    rows.push_back({what, policy, expected});
  };
  add(
      "last 2", [](Policy& p) { p.keep_last = 2; }, "rrrkk");
  add(
      "last 0 keeps what is protected", [](Policy& p) { p.keep_last = 0; }, "rrrrk");
  add(
      "last of more than there are", [](Policy& p) { p.keep_last = 9; }, "kkkkk");
  add(
      "best 1, the earlier of equal ones", [](Policy& p) { p.keep_best = 1; }, "rkrrk");
  add(
      "best 2", [](Policy& p) { p.keep_best = 2; }, "rkrkk");
  add(
      "best 3", [](Policy& p) { p.keep_best = 3; }, "rkkkk");
  add(
      "best 0", [](Policy& p) { p.keep_best = 0; }, "rrrrk");
  add(
      "every 200", [](Policy& p) { p.keep_every = 200; }, "rkrkk");
  add(
      "step 100 and one that is not there",
      [](Policy& p) {
        p.keep_steps = {100, 7};
      },
      "krrrk");
  add(
      "within an hour of the newest", [](Policy& p) { p.keep_within_seconds = 3600; }, "rrrkk");
  add(
      "within three hours", [](Policy& p) { p.keep_within_seconds = 3 * 3600; }, "rkkkk");
  add(
      "united", [](Policy& p) { p.keep_last = 1, p.keep_every = 300, p.keep_steps = {100}; }, "krkrk");
  add(
      "slim all but the last", [](Policy& p) { p.keep_optimizer_last = 1; }, "ssssk");
  add(
      "slim with a rule", [](Policy& p) { p.keep_last = 3, p.keep_optimizer_last = 2; }, "rrskk");
  add(
      "the newest is never slimmed", [](Policy& p) { p.keep_last = 2, p.keep_optimizer_last = 0; }, "rrrsk");
  add(
      "a limit alone starts from everything", [](Policy& p) { p.max_total = 300; }, "rrkkk");
  add(
      "a limit that fits", [](Policy& p) { p.max_total = 500; }, "kkkkk");
  add(
      "a limit after a rule", [](Policy& p) { p.keep_every = 100, p.max_total = 200; }, "rrrkk");
  add(
      "a limit that can't be met keeps what is protected", [](Policy& p) { p.max_total = 1; }, "rrrrk");
  add(
      "free space", [](Policy& p) { p.min_free = 1150; }, "rrkkk");
  add(
      "free space that is there", [](Policy& p) { p.min_free = 1000; }, "kkkkk");
  for (const Row& row : rows) {
    CAPTURE(row.what);
    CHECK(verbs(five(), row.policy) == row.verbs);
  }
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
  // Nothing would go anyway: a young run without an evaluation is no fault.
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
  CHECK(reasons(plan, 1) == "a file KEEP lies in it");
  CHECK(reasons(plan, 2) == "the link /runs/latest leads here");
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
    // One that is unreadable may be whole, or not: it doesn't help.
    policy.allow_unresumable = false;
    RunFacts unreadable = torn;
    unreadable.checkpoints[0].condition = Condition::kUnreadable;
    CHECK(make_plan({unreadable}, policy).runs[0].failure.has_value());
    // Nothing would be touched: a young run is no fault.
    RunFacts young = run_of({checkpoint(300)});
    tear(young.checkpoints[0]);
    young.checkpoints[0].changed_ns = kNow - 600 * kSecond;
    CHECK_FALSE(make_plan({young}, policy).runs[0].failure.has_value());
  }
}

TEST_CASE(
    "plan: a run told to save models only needs no leave, but one that can be resumed from brings it back") {
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

TEST_CASE("plan: what the trainer's own mark names") {
  struct Row {
    const char* what;
    Tracker tracker;
    const char* verbs;  // with the last 1 kept
    const char* note;   // begins so
  };
  const std::int64_t then = kNow - kHour * 97;  // when 300 was saved
  const Row rows[] = {
      {"the newest", {"latest", "checkpoint-500", "checkpoint-500", {}, then + 2 * kHour}, "rrrrk", ""},
      {"by name: those above are left alone",
       {"latest", "x", "checkpoint-300", {}, then + 2 * kHour},
       "rrkkk",
       ""},
      {"by step", {"latest_checkpointed_iteration.txt", "300", "300", 300, then + 2 * kHour}, "rrkkk", ""},
      {"stale: protects, orders nothing",
       {"latest", "x", "checkpoint-300", {}, then},
       "rrkrk",
       "latest is stale: checkpoint-500 was saved 2h after it last changed"},
      {"names nothing here",
       {"latest", "checkpoint-70", "checkpoint-70", {}, then},
       "rrrrk",
       "latest says 'checkpoint-70', which is not a complete checkpoint here"},
      {"a step that is gone", {"latest", "70", "70", 70, then}, "rrrrk", "latest says '70'"},
      {"a place elsewhere",
       {"latest", "/x/checkpoint-300", "", {}, then},
       "rrrrk",
       "latest says '/x/checkpoint-300'"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    RunFacts run = five();
    run.trackers = {row.tracker};
    Policy policy = keep(1);
    policy.torn_age_seconds = 2 * 3600 - 60;
    const RunPlan plan = make_plan({run}, policy).runs[0];
    CHECK(verbs(plan) == row.verbs);
    CHECK(plan.notes.size() == (*row.note != 0 ? 1 : 0));
    if (!plan.notes.empty()) CHECK(plan.notes[0].starts_with(row.note));
    // Whole, since training goes on from it; limits and slimming leave it, too.
    Policy slim;
    slim.keep_optimizer_last = 0;
    slim.max_total = 1;
    const RunPlan slimmed = make_plan({run}, slim).runs[0];
    for (std::size_t i = 0; i < 5; ++i) {
      if (std::string_view(row.verbs)[i] == 'k' && run.checkpoints[i].number != 500)
        CHECK(slimmed.items[i].verb == Verb::kKeep);
    }
  }
}

TEST_CASE("plan: trackers of incomplete ones, several of them, torn ones above") {
  RunFacts run = five();
  run.trackers = {{"latest", "checkpoint-300", "checkpoint-300", {}, kNow}};
  tear(run.checkpoints[2]);
  CHECK(verbs(run, keep(1)) == "rrkrk");  // torn: as any torn one
  CHECK(make_plan({run}, keep(1)).runs[0].notes.size() == 1);
  // The newest of several orders; each protects.
  run = five();
  run.trackers = {{"latest", "checkpoint-300", "checkpoint-300", {}, kNow},
                  {"last.ckpt", "checkpoint-100", "checkpoint-100", {}, 0}};
  CHECK(verbs(run, keep(1)) == "krkkk");
  CHECK(make_plan({run}, keep(1)).runs[0].anchor == 2);
  // Above it nothing is torn yet.
  tear(run.checkpoints[4]);
  Policy policy = keep(1);
  policy.torn = TornAction::kRemove;
  CHECK(verbs(run, policy) == "krkkk");
  // Without numbers the order is that of time.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.number.reset();
  run.trackers = {{"latest", "checkpoint-300", "checkpoint-300", {}, kNow}};
  CHECK(verbs(run, keep(1)) == "rrkkk");
}

TEST_CASE("plan: what may be unfinished counts for nothing for two minutes") {
  RunFacts run = five();
  run.checkpoints[4].changed_ns = kNow - 119 * kSecond;
  CHECK(verbs(run, keep(1)) == "rrrrk");  // a complete one counts at any age
  CHECK(make_plan({run}, keep(1)).runs[0].anchor == 4);
  run.checkpoints[4].shows_complete = false;
  CHECK(verbs(run, keep(1)) == "rrrkk");
  CHECK(make_plan({run}, keep(1)).runs[0].anchor == 3);
  run.checkpoints[4].changed_ns = kNow - 121 * kSecond;
  CHECK(make_plan({run}, keep(1)).runs[0].anchor == 4);
  run.checkpoints[4].writer = "7";
  CHECK(make_plan({run}, keep(1)).runs[0].anchor == 3);
}

TEST_CASE("plan: two runs in one folder") {
  // 100 and 200 are of a run that was begun again; 300 to 500 of the old one.
  RunFacts run = five();
  for (std::size_t i = 2; i < 5; ++i) run.checkpoints[i].lineage = 1;
  run.other_bests = {"checkpoint-300"};
  CHECK(verbs(run, keep(2)) == "kkkrk");
  const Plan plan = make_plan({run}, keep(1));
  CHECK(verbs(plan.runs[0]) == "rkkrk");
  CHECK(plan.runs[0].anchor == 1);
  CHECK(reasons(plan, 2) == "best of another run");
  CHECK(reasons(plan, 4) == "newest of another run");
  // Rules are for the one saved last, a step by its number for all.
  Policy policy;
  policy.keep_every = 400;
  CHECK(verbs(run, policy) == "rkkrk");
  policy.keep_steps = {400};
  CHECK(verbs(run, policy) == "rkkkk");
  // Limits take the old run's first.
  Policy limit;
  limit.max_total = 300;
  CHECK(verbs(run, limit) == "kkrrk");
  limit.max_total = 100;
  CHECK(verbs(run, limit) == "rkrrr");
  // Slimming: the old one's newest stays as it is.
  Policy slim;
  slim.keep_optimizer_last = 1;
  slim.keep_last = 2;
  CHECK(verbs(run, slim) == "sksrk");
  // What the newer run may be saving is left for an hour, though the older has higher steps.
  RunFacts saving = run;
  tear(saving.checkpoints[1]);
  saving.checkpoints[1].lineage.reset();
  saving.checkpoints[1].changed_ns = kNow - 1800 * kSecond;
  Policy torn = keep(1);
  torn.torn = TornAction::kRemove;
  CHECK(verbs(saving, torn) == "kkkrk");
  saving.checkpoints[1].changed_ns = kNow - 3700 * kSecond;
  CHECK(verbs(saving, torn) == "krkrk");
  // Nothing resumable in the newer: the older has what there is.
  run.checkpoints[0].condition = run.checkpoints[1].condition = Condition::kInferenceOnly;
  CHECK(make_plan({run}, keep(1)).runs[0].anchor == 4);
}

TEST_CASE("plan: where logs say nothing the one saved last is protected as well") {
  RunFacts run = five();
  run.checkpoints[1].time_ns = kNow - 60 * kSecond;
  CHECK(verbs(run, keep(1)) == "rrrrk");  // the log says that all are one run: a time lost in copying
  for (CheckpointFacts& c : run.checkpoints) c.lineage.reset();
  const Plan plan = make_plan({run}, keep(1));
  CHECK(verbs(plan.runs[0]) == "rkrrk");
  CHECK(reasons(plan, 1) == "saved last, though not of the highest step");
  Policy limit;
  limit.max_total = 1;
  CHECK(verbs(run, limit) == "rkrrk");
  // The same of one above the newest resumable says no more than is so.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.lineage = 0;
  run.checkpoints[4].lineage.reset();
  run.checkpoints[4].condition = Condition::kInferenceOnly;
  run.checkpoints[4].time_ns = kNow - 60 * kSecond;
  CHECK(reasons(make_plan({run}, keep(0)), 4) == "saved last");
}

TEST_CASE("plan: files of ranks alone go by rules with leave, or by another folder's steps") {
  RunFacts run = five();
  for (CheckpointFacts& c : run.checkpoints) {
    c.condition = Condition::kInferenceOnly;
    c.is_rank_only = true;
    c.shows_complete = false;
  }
  const auto refused = [&](const Policy& policy) {
    const RunPlan plan = make_plan({run}, policy).runs[0];
    REQUIRE(plan.failure.has_value());
    CHECK(verbs(plan) == "kkkkk");
    return std::string(plan.failure->what());
  };
  Policy policy = keep(2);
  CHECK(contains(refused(policy), "--follow"));
  CHECK(contains(refused(policy), "--allow-unresumable"));
  policy.allow_unresumable = true;
  CHECK(verbs(run, policy) == "rrrkk");
  policy.keep_every = 200;
  policy.keep_steps = {100};
  CHECK(verbs(run, policy) == "kkrkk");
  Policy follow;
  follow.follow = Followed{"/shared/run", {100, 300, 900}, {}};
  CHECK(verbs(run, follow) == "krkrr");
  run.checkpoints[4].changed_ns = kNow - 60 * kSecond;
  CHECK(verbs(run, follow) == "krkrk");  // may be being written
  CHECK(make_plan({run}, policy).runs[0].items[4].reasons.front().starts_with("being written"));
  // Without a number by name.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.is_rank_only = true, c.number.reset();
  follow.follow = Followed{"there", {}, {"checkpoint-200"}};
  CHECK(verbs(run, follow) == "rkrrr");
  // Torn ones among them are as torn as anywhere, and go by --torn alone.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.is_rank_only = true, c.condition = Condition::kInferenceOnly;
  tear(run.checkpoints[1]);
  tear(run.checkpoints[4]);
  run.checkpoints[4].is_rank_only = false;
  Policy some = keep(1);
  some.allow_unresumable = true;
  CHECK(verbs(run, some) == "rkrkk");
  some.torn = TornAction::kRemove;
  CHECK(verbs(run, some) == "rrrkr");
  // Beside a whole one they are torn.
  run = five();
  run.checkpoints[4].is_rank_only = true;
  CHECK(verbs(run, keep(1)) == "rrrkk");
  // An ordinary run follows too, and keeps its newest.
  follow.follow = Followed{"there", {100, 300}, {}};
  CHECK(verbs(five(), follow) == "krkrk");
  // Limits ask for leave as rules do.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.is_rank_only = true, c.condition = Condition::kInferenceOnly;
  Policy limit;
  limit.max_total = 100;
  CHECK(contains(refused(limit), "--follow"));
}

TEST_CASE("plan: what staging left behind counts for nothing and goes by --torn alone") {
  RunFacts run = run_of({checkpoint(600), checkpoint(100), checkpoint(200)});
  run.checkpoints[0].name = "tmp-checkpoint-600";
  run.checkpoints[0].number.reset();
  run.checkpoints[0].is_staging = true;
  tear(run.checkpoints[0]);
  CHECK(verbs(run, keep(1)) == "krk");
  Policy limit;
  limit.max_total = 200;
  Plan plan = make_plan({run}, limit);
  CHECK(verbs(plan.runs[0]) == "kkk");
  CHECK(plan.bytes_before == 200);
  Policy policy;
  policy.torn = TornAction::kRemove;
  plan = make_plan({run}, policy);
  CHECK(verbs(plan.runs[0]) == "rkk");
  CHECK(plan.bytes_after == 200);
  CHECK(plan.runs[0].bytes_after == 200);
  policy.torn = TornAction::kAside;
  CHECK(verbs(run, policy) == "akk");
  run.checkpoints[0].changed_ns = kNow - 1800 * kSecond;
  CHECK(verbs(run, policy) == "kkk");
  policy.torn_age_seconds = 1700;
  CHECK(verbs(run, policy) == "akk");
  run.checkpoints[0].writer = "12";
  CHECK(verbs(run, policy) == "kkk");
}

TEST_CASE("plan: --keep-best without an evaluation anywhere asks for nothing") {
  RunFacts run = five();
  run.has_evaluations = false;
  run.metric = {"eval_loss", std::nullopt, false, false};
  Policy policy;
  policy.keep_best = 1;
  CHECK(verbs(run, policy) == "kkkkk");  // alone it is no rule
  CHECK(make_plan({run}, policy).runs[0].notes.empty());
  policy.keep_last = 2;
  Plan plan = make_plan({run}, policy);
  CHECK(verbs(plan.runs[0]) == "rrrkk");
  CHECK(plan.runs[0].notes.size() == 1);
  policy.keep_last = 9;
  CHECK(make_plan({run}, policy).runs[0].notes.empty());
  // A metric that was named and no log has: refused by its name, whatever its direction.
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

TEST_CASE("plan: torn ones count for no rule and go only when asked for") {
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
  // Each file system for itself.
  b.device = 2;
  b.free_bytes = 5000;
  policy.min_free = 1100;
  const Plan two = make_plan({a, b}, policy);
  CHECK(verbs(two.runs[0]) == "rkkkk");
  CHECK(verbs(two.runs[1]) == "kkkkk");
}

TEST_CASE("plan: a file with several names takes its space once and frees it with the last") {
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
  CHECK(counted.freed(1) == 300 + 1000);  // six more names of the other lie elsewhere
  CHECK(counted.used() == 0);
}

// Nothing in two lists, nothing lost, protected ones never planned for, the same plan twice, a real
// checkpoint to resume from at the end, and every number adds up: on random runs under random policies.
TEST_CASE("plan: invariants on random runs and policies") {
  std::mt19937 random(20261125);
  const auto one_in = [&random](unsigned n) { return random() % n == 0; };
  for (int round = 0; round < 4000; ++round) {
    std::vector<RunFacts> runs;
    for (unsigned long r = 0, count = 1 + random() % 3; r < count; ++r) {
      RunFacts run = run_of({});
      run.path = fmt::format("run{}", r);
      run.device = 1 + random() % 2;
      run.free_bytes = random() % 2000;
      const bool many_runs = one_in(3), ranks_only = one_in(8), model_only = one_in(5);
      std::uint64_t step = 0;
      for (unsigned long i = 0, many = random() % 12; i < many; ++i) {
        step += 1 + random() % 500;
        CheckpointFacts c = checkpoint(step);
        c.stamp.id.inode += r * 1'000'000;
        c.time_ns = kNow + static_cast<std::int64_t>(random() % 200'000) * kSecond - 190'000 * kSecond;
        c.changed_ns = c.time_ns;
        c.condition = static_cast<Condition>(one_in(3) ? random() % 4 : 0);
        c.why = c.condition == Condition::kResumable ? "" : "reason";
        if (c.condition != Condition::kResumable && one_in(2))
          c.slim_block = "blocked", c.training_entries.clear();
        if (!one_in(4)) c.metrics.push_back({0, one_in(6) ? kNan : static_cast<double>(random() % 50)});
        if (!one_in(4)) c.epoch = static_cast<double>(step) / 300;
        if (one_in(9)) c.writer = "1";
        if (one_in(9)) c.linked_by = "link";
        if (one_in(9)) c.has_keep_file = true;
        if (one_in(9)) c.has_mount = true;
        if (one_in(2)) c.shared = {{{1, random() % 5}, 1000, 1 + random() % 8, one_in(2)}};
        if (one_in(3)) c.lineage.reset();
        if (many_runs && c.lineage) c.lineage = random() % 3;
        c.shows_complete = !one_in(6);
        c.saves_model_only = model_only;
        if (ranks_only)
          c.is_rank_only = true, c.condition = Condition::kInferenceOnly, c.saves_model_only = false;
        if (i == 0 && one_in(6)) c.is_staging = true, c.condition = Condition::kTorn, c.number.reset();
        run.checkpoints.push_back(std::move(c));
      }
      if (many_runs) run.other_bests = {fmt::format("checkpoint-{}", random() % 900), "x"};
      for (const CheckpointFacts& c : run.checkpoints) {
        if (one_in(12)) run.trackers.push_back({"latest", c.name, c.name, {}, c.time_ns + kSecond});
      }
      if (!run.checkpoints.empty() && one_in(2))
        run.best = run.checkpoints[random() % run.checkpoints.size()].name;
      runs.push_back(std::move(run));
    }
    Policy policy;
    if (one_in(2)) policy.keep_last = random() % 4;
    if (one_in(3)) policy.keep_best = random() % 4;
    if (one_in(3)) policy.keep_every = 1 + random() % 700;
    if (one_in(4)) policy.keep_epochs = true;
    if (one_in(3)) policy.keep_within_seconds = static_cast<std::uint32_t>(random() % 100'000);
    if (one_in(3)) policy.keep_optimizer_last = random() % 3;
    if (one_in(3)) policy.max_total = random() % 3000;
    if (one_in(3)) policy.min_free = random() % 3000;
    policy.torn = static_cast<TornAction>(random() % 3);
    policy.allow_unresumable = one_in(3);
    if (one_in(5)) policy.follow = Followed{"there", {100, 300}, {}};
    CAPTURE(round);

    const Plan plan = make_plan(runs, policy);
    const Plan again = make_plan(runs, policy);
    REQUIRE(plan.runs.size() == runs.size());
    std::uint64_t freed = 0;
    for (std::size_t r = 0; r < runs.size(); ++r) {
      const RunPlan& run = plan.runs[r];
      REQUIRE(run.items.size() == runs[r].checkpoints.size());
      bool resumable_before = false, resumable_after = false, complete_after = false, loses = false;
      bool model_only = true;
      const bool ranks_only =
          std::all_of(runs[r].checkpoints.begin(), runs[r].checkpoints.end(),
                      [](const CheckpointFacts& c) { return c.is_staging || c.is_rank_only; });
      for (std::size_t i = 0; i < run.items.size(); ++i) {
        const CheckpointFacts& c = runs[r].checkpoints[i];
        const PlanItem& item = run.items[i];
        CHECK(item.verb == again.runs[r].items[i].verb);
        CHECK(item.reasons == again.runs[r].items[i].reasons);
        CHECK_FALSE(item.reasons.empty());
        freed += c.is_staging ? 0 : item.frees;
        if (std::any_of(runs[r].trackers.begin(), runs[r].trackers.end(),
                        [&c](const Tracker& t) { return t.entry == c.name && c.is_complete(); }))
          CHECK(item.verb == Verb::kKeep);
        model_only = model_only && (!c.is_complete() || c.saves_model_only);
        const bool stays_whole = c.writer || c.linked_by || c.has_keep_file || c.has_mount ||
                                 c.condition == Condition::kUnreadable || is_being_written(c, kNow);
        if (stays_whole) CHECK(item.verb == Verb::kKeep);
        if (c.name == runs[r].best && c.is_complete())
          CHECK((item.verb == Verb::kKeep || item.verb == Verb::kSlim));
        if (c.condition == Condition::kTorn && policy.torn == TornAction::kKeep && !ranks_only)
          CHECK(item.verb == Verb::kKeep);
        if (item.verb == Verb::kAside) CHECK(c.condition == Condition::kTorn);
        if (item.verb == Verb::kSlim) CHECK((c.is_complete() && c.slim_block.empty()));
        if (run.failure) CHECK(item.verb == Verb::kKeep);
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
          std::any_of(runs[r].checkpoints.begin(), runs[r].checkpoints.end(),
                      [](const CheckpointFacts& c) { return c.is_complete() && !c.writer; }))
        CHECK(complete_after);
    }
    CHECK(plan.bytes_before - plan.bytes_after == freed);
    if (policy.max_total && plan.over_total == 0) CHECK(plan.bytes_after <= *policy.max_total);
  }
}
