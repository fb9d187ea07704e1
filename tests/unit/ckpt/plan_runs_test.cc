// SPDX-License-Identifier: Apache-2.0
// Plans of runs that are not just a row of complete checkpoints: trackers, several runs in one folder, ranks.
#include "plans.h"

#include <doctest/doctest.h>

using namespace mu;
using namespace mu::testing;

TEST_CASE("plan: what the trainer's own tracker names") {
  struct Row {
    const char* what;
    Tracker tracker;
    const char* verbs;  // with the last 1 kept
    const char* note;   // its beginning
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
       "latest names 'checkpoint-70', which is not a complete checkpoint here"},
      {"a step that is gone", {"latest", "70", "70", 70, then}, "rrrrk", "latest names '70'"},
      {"a place elsewhere",
       {"latest", "/x/checkpoint-300", "", {}, then},
       "rrrrk",
       "latest names '/x/checkpoint-300'"},
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
    // It stays complete, since training resumes from it; limits and slimming leave it alone, too.
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

TEST_CASE("plan: trackers of incomplete checkpoints, several trackers, torn checkpoints above") {
  RunFacts run = five();
  run.trackers = {{"latest", "checkpoint-300", "checkpoint-300", {}, kNow}};
  tear(run.checkpoints[2]);
  CHECK(verbs(run, keep(1)) == "rrkrk");  // torn: like any other torn one
  CHECK(make_plan({run}, keep(1)).runs[0].notes.size() == 1);
  // Of several trackers the newest orders; each protects.
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

TEST_CASE("plan: what may be unfinished does not count for two minutes") {
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
  // 100 and 200 belong to a run that was started again; 300 to 500 to the old one.
  RunFacts run = five();
  for (std::size_t i = 2; i < 5; ++i) run.checkpoints[i].lineage = 1;
  run.other_bests = {"checkpoint-300"};
  CHECK(verbs(run, keep(2)) == "kkkrk");
  const Plan plan = make_plan({run}, keep(1));
  CHECK(verbs(plan.runs[0]) == "rkkrk");
  CHECK(plan.runs[0].anchor == 1);
  CHECK(reasons(plan, 2) == "best of another run");
  CHECK(reasons(plan, 4) == "newest of another run");
  // Rules apply to the run saved last, a step by its number to all.
  Policy policy;
  policy.keep_every = 400;
  CHECK(verbs(run, policy) == "rkkrk");
  policy.keep_steps = {400};
  CHECK(verbs(run, policy) == "rkkkk");
  // Limits take those of the old run first.
  Policy limit;
  limit.max_total = 300;
  CHECK(verbs(run, limit) == "kkrrk");
  limit.max_total = 100;
  CHECK(verbs(run, limit) == "rkrrr");
  // Slimming: the newest of the old run stays as it is.
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
  // Nothing in the newer run can be resumed from: the older one has what there is.
  run.checkpoints[0].condition = run.checkpoints[1].condition = Condition::kInferenceOnly;
  CHECK(make_plan({run}, keep(1)).runs[0].anchor == 4);
}

TEST_CASE("plan: where logs show nothing, the one saved last is protected too") {
  RunFacts run = five();
  run.checkpoints[1].time_ns = kNow - 60 * kSecond;
  CHECK(verbs(run, keep(1)) == "rrrrk");  // the log shows that all are one run: copying lost a time
  for (CheckpointFacts& c : run.checkpoints) c.lineage.reset();
  const Plan plan = make_plan({run}, keep(1));
  CHECK(verbs(plan.runs[0]) == "rkrrk");
  CHECK(reasons(plan, 1) == "saved last, though not the highest step");
  Policy limit;
  limit.max_total = 1;
  CHECK(verbs(run, limit) == "rkrrk");
  // For one above the newest resumable the reason claims no more than is true.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.lineage = 0;
  run.checkpoints[4].lineage.reset();
  run.checkpoints[4].condition = Condition::kInferenceOnly;
  run.checkpoints[4].time_ns = kNow - 60 * kSecond;
  CHECK(reasons(make_plan({run}, keep(0)), 4) == "saved last");
}

TEST_CASE("plan: only files of ranks: rules apply if allowed, or the steps of another folder") {
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
  CHECK(make_plan({run}, policy).runs[0].items[4].reasons.front() == "may still be being written");
  // Without a number: by name.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.is_rank_only = true, c.number.reset();
  follow.follow = Followed{"there", {}, {"checkpoint-200"}};
  CHECK(verbs(run, follow) == "rkrrr");
  // Torn ones among them are torn as anywhere, and only --torn takes them.
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
  // Beside a complete one they are torn.
  run = five();
  run.checkpoints[4].is_rank_only = true;
  CHECK(verbs(run, keep(1)) == "rrrkk");
  // An ordinary run follows too, and keeps its newest.
  follow.follow = Followed{"there", {100, 300}, {}};
  CHECK(verbs(five(), follow) == "krkrk");
  // Limits need permission as rules do.
  run = five();
  for (CheckpointFacts& c : run.checkpoints) c.is_rank_only = true, c.condition = Condition::kInferenceOnly;
  Policy limit;
  limit.max_total = 100;
  CHECK(contains(refused(limit), "--follow"));
}

TEST_CASE("plan: what staging left behind does not count and only --torn takes it") {
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
