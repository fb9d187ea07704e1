// SPDX-License-Identifier: Apache-2.0
#include "ckpt/siblings.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <tuple>

#include "base/text.h"
#include "ckpt/runs.h"

namespace mu {
namespace {

// Notes "left alone, WHY: a, b and 7 more".
void name_left_alone(std::vector<std::string> names, std::string_view why, RunFacts& run) {
  constexpr std::size_t kMost = 5;
  if (names.empty()) return;
  std::sort(names.begin(), names.end());
  const std::size_t more = names.size() > kMost + 1 ? names.size() - kMost : 0;
  names.resize(names.size() - more);
  run.left_alone.push_back(fmt::format("left alone, {}: {}{}", why, join(names, ", "),
                                       more > 0 ? fmt::format(" and {} more", more) : ""));
}

bool has_number(const LookedAtEntry& entry) {
  return entry.is_recognised && entry.facts.number.has_value();
}

// "best_mAP_epoch_9.pth" beside "epoch_9.pth" is a copy that the trainer keeps for itself. But if all names
// say "best", a callback wrote them one after the other, and they are the checkpoints.
bool has_best_apart(const std::vector<LookedAtEntry>& entries) {
  return std::any_of(entries.begin(), entries.end(), [](const LookedAtEntry& entry) {
    return has_number(entry) && !says_best(entry.facts.name);
  });
}

void sort_oldest_first(std::vector<CheckpointFacts>& checkpoints) {
  const auto key = [](const CheckpointFacts& c) {
    return std::tuple(!c.is_staging, c.number.value_or(0), c.time_ns, std::string_view(c.name));
  };
  std::sort(checkpoints.begin(), checkpoints.end(),
            [&key](const CheckpointFacts& a, const CheckpointFacts& b) { return key(a) < key(b); });
}

// If all checkpoints hold only files of some ranks, this is the disk of one node. Beside a complete
// checkpoint they are what an interrupted save left.
void judge_rank_only(std::vector<CheckpointFacts>& checkpoints) {
  const bool has_whole = std::any_of(checkpoints.begin(), checkpoints.end(), [](const CheckpointFacts& c) {
    return c.is_complete() && !c.is_rank_only;
  });
  if (!has_whole) return;
  for (CheckpointFacts& c : checkpoints) {
    if (!c.is_rank_only || !c.is_complete()) continue;
    c.is_rank_only = false;
    c.condition = Condition::kTorn;
    c.why = "holds only files of some ranks";
  }
}

// A folder found by pattern may come from any framework. If the Trainer wrote others here, one that has a
// name of the Trainer's is the Trainer's too.
void judge_states(std::vector<CheckpointFacts>& checkpoints) {
  if (std::none_of(checkpoints.begin(), checkpoints.end(),
                   [](const CheckpointFacts& c) { return c.is_complete() && c.state.has_value(); }))
    return;
  for (CheckpointFacts& c : checkpoints) {
    if (!c.lacks_state || !c.is_complete()) continue;
    c.condition = Condition::kTorn;
    c.why = "trainer_state.json is missing, but other checkpoints here have one";
  }
}

// If the framework is not known, nothing shows what resuming needs; but if others here have an optimizer, it
// does.
void judge_optimizers(std::vector<CheckpointFacts>& checkpoints) {
  const auto is_folder_with = [](const CheckpointFacts& c, bool optimizer) {
    return !c.is_file && c.condition == Condition::kResumable && c.has_optimizer == optimizer;
  };
  if (std::none_of(checkpoints.begin(), checkpoints.end(),
                   [&](const CheckpointFacts& c) { return is_folder_with(c, true); }))
    return;
  for (CheckpointFacts& c : checkpoints) {
    if (!is_folder_with(c, false)) continue;
    c.condition = Condition::kInferenceOnly;
    c.why = "no optimizer, but other checkpoints here have one";
  }
}

// A set of files of ranks that the previous save has and this one lacks altogether may have been cut off: verl
// writes its critic after its actor, Megatron its folders of ranks. Only the previous save counts, so that a
// run which goes on without a set is followed.
void judge_rank_sets(std::vector<CheckpointFacts>& checkpoints) {
  const CheckpointFacts* before = nullptr;
  for (CheckpointFacts& c : checkpoints) {
    if (!c.is_complete() || c.rank_sets.empty()) continue;
    std::vector<std::string> lost;
    if (before != nullptr)
      std::set_difference(before->rank_sets.begin(), before->rank_sets.end(), c.rank_sets.begin(),
                          c.rank_sets.end(), std::back_inserter(lost));
    if (!lost.empty() && c.condition == Condition::kResumable) {
      c.condition = Condition::kInferenceOnly;
      c.why = fmt::format("no {}, but {} has it", lost.front(), before->name);
    }
    before = &c;
  }
}

}  // namespace

void take_checkpoints(std::vector<LookedAtEntry> entries, RunFacts& run) {
  const bool by_number = std::any_of(entries.begin(), entries.end(), has_number);
  const bool is_best_apart = run.is_by_pattern && has_best_apart(entries);
  std::vector<std::string> strangers, unnumbered, bests;
  for (LookedAtEntry& entry : entries) {
    const bool is_unreadable = entry.facts.condition == Condition::kUnreadable;
    if (!entry.is_recognised && !is_unreadable)
      strangers.push_back(std::move(entry.facts.name));
    else if (by_number && !entry.facts.number && !is_unreadable && !entry.facts.is_staging)
      unnumbered.push_back(std::move(entry.facts.name));
    else if (is_best_apart && entry.facts.number && !is_unreadable && says_best(entry.facts.name))
      bests.push_back(std::move(entry.facts.name));
    else
      run.checkpoints.push_back(std::move(entry.facts));
  }
  sort_oldest_first(run.checkpoints);
  name_left_alone(std::move(strangers), "neither weights nor training state", run);
  name_left_alone(std::move(unnumbered), "no number in the name, unlike the others", run);
  name_left_alone(std::move(bests), "called the best, unlike the others", run);
  if (!by_number && run.checkpoints.size() > 1)
    run.warnings.push_back("no name holds a number: ordered by the time of saving");
  judge_rank_only(run.checkpoints);
  judge_states(run.checkpoints);
  judge_optimizers(run.checkpoints);
  judge_rank_sets(run.checkpoints);
}

}  // namespace mu
