// SPDX-License-Identifier: Apache-2.0
#include "ckpt/siblings.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace mu;

namespace {

LookedAtEntry entry(const char* name, std::optional<std::uint64_t> number, std::int64_t time,
                    bool is_recognised = true) {
  LookedAtEntry made;
  made.facts.name = name;
  made.facts.number = number;
  made.facts.time_ns = time;
  made.facts.condition = Condition::kResumable;
  made.is_recognised = is_recognised;
  return made;
}

std::vector<std::string> names_of(const RunFacts& run) {
  std::vector<std::string> names;
  for (const CheckpointFacts& c : run.checkpoints) names.push_back(c.name);
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("siblings: by number; one without a number beside others is left alone and named once") {
  RunFacts run;
  take_checkpoints({entry("ck_best.pt", std::nullopt, 99), entry("ck_10.pt", 10, 1), entry("ck_9.pt", 9, 2),
                    entry("ck_11.log", 11, 3, false)},
                   run);
  CHECK(names_of(run) == Names{"ck_9.pt", "ck_10.pt"});
  CHECK(run.left_alone == Names{"left alone, neither weights nor training state: ck_11.log",
                                "left alone, no number in the name, unlike the others: ck_best.pt"});
  CHECK(run.warnings.empty());
}

TEST_CASE("siblings: by time only if no checkpoint has a number, with a warning") {
  RunFacts run;
  take_checkpoints({entry("b", std::nullopt, 1), entry("a", std::nullopt, 2), entry("log_7", 7, 3, false)},
                   run);
  CHECK(names_of(run) == Names{"b", "a"});
  CHECK(run.warnings == Names{"no name holds a number: ordered by the time of saving"});
}

TEST_CASE("siblings: many that are left alone make one line") {
  RunFacts run;
  std::vector<LookedAtEntry> entries;
  const Names names = {"a", "b", "c", "d", "e", "f", "g", "h"};
  for (const std::string& name : names) entries.push_back(entry(name.c_str(), 1, 1, false));
  take_checkpoints(std::move(entries), run);
  CHECK(run.left_alone == Names{"left alone, neither weights nor training state: a, b, c, d, e and 3 more"});
}

TEST_CASE("siblings: what can't be read stays in the list") {
  RunFacts run;
  LookedAtEntry locked = entry("ck_x", std::nullopt, 5, false);
  locked.facts.condition = Condition::kUnreadable;
  take_checkpoints({std::move(locked), entry("ck_1", 1, 1)}, run);
  CHECK(names_of(run) == Names{"ck_x", "ck_1"});
}

TEST_CASE("siblings: only files of ranks count as complete only if all are such") {
  const auto ranks = [](const char* name, std::uint64_t number) {
    LookedAtEntry made = entry(name, number, 1);
    made.facts.condition = Condition::kInferenceOnly;
    made.facts.is_rank_only = true;
    return made;
  };
  RunFacts node;
  take_checkpoints({ranks("checkpoint-1", 1), ranks("checkpoint-2", 2)}, node);
  CHECK(node.checkpoints[1].is_complete());
  RunFacts shared;
  take_checkpoints({entry("checkpoint-1", 1, 1), ranks("checkpoint-2", 2)}, shared);
  CHECK(shared.checkpoints[1].condition == Condition::kTorn);
  CHECK_FALSE(shared.checkpoints[1].is_rank_only);
}

TEST_CASE("siblings: an optimizer is lacking if others have one") {
  const auto with = [](const char* name, std::uint64_t number, bool optimizer) {
    LookedAtEntry made = entry(name, number, 1);
    made.facts.has_optimizer = optimizer;
    return made;
  };
  RunFacts mixed;
  take_checkpoints({with("step-1", 1, true), with("step-2", 2, false)}, mixed);
  CHECK(mixed.checkpoints[0].condition == Condition::kResumable);
  CHECK(mixed.checkpoints[1].condition == Condition::kInferenceOnly);
  RunFacts models;
  take_checkpoints({with("step-1", 1, false), with("step-2", 2, false)}, models);
  CHECK(models.checkpoints[1].condition == Condition::kResumable);
}

TEST_CASE("siblings: by pattern the best stays apart, unless all are called best") {
  RunFacts run;
  run.is_by_pattern = true;
  take_checkpoints(
      {entry("epoch_9.pth", 9, 1), entry("epoch_10.pth", 10, 2), entry("best_mAP_epoch_9.pth", 9, 1)}, run);
  CHECK(names_of(run) == Names{"epoch_9.pth", "epoch_10.pth"});
  CHECK(run.left_alone == Names{"left alone, called the best, unlike the others: best_mAP_epoch_9.pth"});
  RunFacts all;
  all.is_by_pattern = true;
  take_checkpoints({entry("best-epoch=1.ckpt", 1, 1), entry("best-epoch=2.ckpt", 2, 2)}, all);
  CHECK(names_of(all) == Names{"best-epoch=1.ckpt", "best-epoch=2.ckpt"});
  CHECK(all.left_alone.empty());
}

TEST_CASE("siblings: a file of ranks that only the previous save has is noticed once") {
  const auto with = [](const char* name, std::uint64_t number, const Names& sets) {
    LookedAtEntry made = entry(name, number, 1);
    made.facts.rank_sets = sets;
    return made;
  };
  const Names both = {"actor/model.pt", "critic/model.pt"}, actor = {"actor/model.pt"};
  RunFacts run;
  take_checkpoints(
      {with("g_1", 1, actor), with("g_2", 2, both), with("g_3", 3, actor), with("g_4", 4, actor)}, run);
  CHECK(run.checkpoints[1].condition == Condition::kResumable);
  CHECK(run.checkpoints[2].condition == Condition::kInferenceOnly);
  CHECK(run.checkpoints[2].why == "no critic/model.pt, but g_2 has it");
  CHECK(run.checkpoints[3].condition == Condition::kResumable);
}
