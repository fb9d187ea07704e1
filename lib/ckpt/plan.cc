// SPDX-License-Identifier: Apache-2.0
// Two passes. Each run for itself: what protects a checkpoint, which rules keep it, what happens to torn
// ones, what is slimmed. Then all runs together: limits take the oldest that nothing protects until they are
// met.
#include "ckpt/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/duration.h"
#include "base/sizes.h"
#include "base/text.h"
#include "ckpt/ledger.h"

namespace mu {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kWritingAge = 120 * kSecond;

// How long ago, never negative: a time in the future is as good as now, so that a clock that jumped makes us
// careful and nothing else.
std::int64_t age_ns(std::int64_t time_ns, std::int64_t now_ns) {
  return std::max<std::int64_t>(0, now_ns - time_ns);
}

Error nothing_resumable(const RunFacts& run) {
  return refused("no checkpoint here can be resumed from")
      .in_file(escape_name(run.path))
      .hint("--allow-unresumable goes on all the same; nothing was changed");
}

class RunPlanner {
 public:
  RunPlanner(const RunFacts& run, const Policy& policy) : run_(run), policy_(policy) {
    plan_.items.resize(run.checkpoints.size());
    touchable_.resize(run.checkpoints.size());
  }

  RunPlan plan() {
    find_complete();
    find_anchor();
    protect();
    if (policy_.has_keep_rule()) {
      keep_by_rules();
    } else {
      for (const std::size_t i : complete_) because(i, "no rule removes it");
    }
    judge_torn();
    for (std::size_t i = 0; i < plan_.items.size(); ++i) {
      if (!plan_.items[i].reasons.empty()) continue;
      plan_.items[i].verb = Verb::kRemove;
      because(i, "no rule keeps it");
    }
    slim();
    check_safety();
    return std::move(plan_);
  }

 private:
  const CheckpointFacts& at(std::size_t i) const { return run_.checkpoints[i]; }

  void because(std::size_t i, std::string reason) { plan_.items[i].reasons.push_back(std::move(reason)); }

  // `whole`: what protects it needs all of it, so that it is not slimmed either.
  void protect_one(std::size_t i, std::string reason, bool whole) {
    plan_.items[i].is_protected = true;
    if (whole) touchable_[i] = false;
    because(i, std::move(reason));
  }

  void find_complete() {
    for (std::size_t i = 0; i < run_.checkpoints.size(); ++i) {
      touchable_[i] = true;
      if (at(i).is_complete() && !at(i).writer) complete_.push_back(i);
      plan_.items[i].is_torn = at(i).condition == Condition::kTorn;
    }
  }

  void find_anchor() {
    for (const std::size_t i : complete_) {
      if (at(i).condition == Condition::kResumable) plan_.anchor = i;
    }
  }

  void protect() {
    if (plan_.anchor)
      protect_one(*plan_.anchor, "newest resumable", true);
    else if (!complete_.empty())
      protect_one(complete_.back(), "newest complete", true);
    for (std::size_t i = 0; i < run_.checkpoints.size(); ++i) {
      const CheckpointFacts& c = at(i);
      if (c.name == run_.best && c.is_complete()) protect_one(i, "best of the run", false);
      if (c.condition == Condition::kUnreadable) protect_one(i, "can't be looked at: " + c.why, true);
      if (c.writer)
        protect_one(i, "process " + *c.writer + " writes to it", true);
      else if (is_being_written(c, run_.now_ns))
        protect_one(i, "being written: " + c.why, true);
      if (c.has_mount) protect_one(i, "something is mounted in it", true);
      if (c.linked_by) protect_one(i, "the link " + *c.linked_by + " leads here", true);
      if (c.has_keep_file) protect_one(i, "a file KEEP lies in it", true);
      if (is_pinned(c)) protect_one(i, "pinned", true);
    }
  }

  bool is_pinned(const CheckpointFacts& c) const {
    const auto fits = [&c](const Pin& pin) {
      return (pin.number && pin.number == c.number) || (!pin.name.empty() && pin.name == c.name) ||
             (pin.id && *pin.id == c.stamp.id);
    };
    return std::any_of(policy_.pins.begin(), policy_.pins.end(), fits) ||
           std::any_of(run_.keep_names.begin(), run_.keep_names.end(),
                       [&fits](const std::string& name) { return fits(pin_of(name)); });
  }

  void keep_by_rules() {
    if (policy_.keep_last) {
      const std::size_t n = std::min<std::uint64_t>(*policy_.keep_last, complete_.size());
      for (std::size_t k = complete_.size() - n; k < complete_.size(); ++k)
        because(complete_[k], fmt::format("last {}", *policy_.keep_last));
    }
    if (policy_.keep_best) keep_best(*policy_.keep_best);
    if (policy_.keep_epochs) keep_epochs();
    if (policy_.keep_within_seconds) keep_within(*policy_.keep_within_seconds);
    for (const std::size_t i : complete_) {
      const std::optional<std::uint64_t> step = at(i).number;
      if (step && policy_.keep_every && *step % *policy_.keep_every == 0)
        because(i, fmt::format("every {}", *policy_.keep_every));
      if (step &&
          std::find(policy_.keep_steps.begin(), policy_.keep_steps.end(), *step) != policy_.keep_steps.end())
        because(i, fmt::format("step {} was asked for", *step));
    }
  }

  // Of equal values the earlier wins, as in the Trainer: a later one is no improvement.
  void keep_best(std::uint64_t count) {
    if (!run_.metric.lower_is_better)
      throw usage(fmt::format("nothing says whether {} is better low or high", escape_name(run_.metric.name)))
          .hint("say --min or --max");
    std::vector<std::pair<double, std::size_t>> ranked;
    for (const std::size_t i : complete_) {
      if (const std::optional<double> value = run_.rank_value(at(i)))
        ranked.emplace_back(*run_.metric.lower_is_better ? *value : -*value, i);
    }
    lacks_metric_ = ranked.empty() && count > 0;
    std::sort(ranked.begin(), ranked.end());
    for (std::size_t k = 0; k < ranked.size() && k < count; ++k)
      because(ranked[k].second, fmt::format("best {}: {} {:.6g}", count, run_.metric.name,
                                            *run_.rank_value(at(ranked[k].second))));
  }

  void keep_epochs() {
    std::map<double, std::size_t> last_of;
    for (const std::size_t i : complete_) {
      // A checkpoint at the very end of an epoch says 3.0 and belongs to the third.
      if (at(i).epoch && std::isfinite(*at(i).epoch)) last_of[std::ceil(*at(i).epoch - 1e-6)] = i;
    }
    for (const auto& [epoch, i] : last_of) because(i, fmt::format("last of epoch {}", std::max(epoch, 1.0)));
  }

  void keep_within(std::uint32_t seconds) {
    if (complete_.empty()) return;
    // From the newest; from now where that one's clock ran ahead, or everything older would drop out.
    const std::int64_t from = std::min(at(complete_.back()).time_ns, run_.now_ns);
    for (const std::size_t i : complete_) {
      if (at(i).time_ns >= from - seconds * kSecond) because(i, "within " + format_duration(seconds));
    }
  }

  void judge_torn() {
    const std::size_t last = run_.checkpoints.size();
    for (std::size_t i = 0; i < last; ++i) {
      PlanItem& item = plan_.items[i];
      if (!item.is_torn || item.is_protected) continue;
      because(i, "torn: " + at(i).why);
      if (policy_.torn == TornAction::kKeep) continue;
      const bool is_fresh = age_ns(at(i).changed_ns, run_.now_ns) < policy_.torn_age_seconds * kSecond;
      if (i + 1 == last && is_fresh)
        because(i, fmt::format("the newest, left until nothing changed for {}",
                               format_duration(policy_.torn_age_seconds)));
      else
        item.verb = policy_.torn == TornAction::kRemove ? Verb::kRemove : Verb::kAside;
    }
  }

  void slim() {
    if (!policy_.keep_optimizer_last) return;
    std::uint64_t seen = 0;
    for (auto i = complete_.rbegin(); i != complete_.rend(); ++i) {
      PlanItem& item = plan_.items[*i];
      if (item.verb != Verb::kKeep) continue;
      const bool resumable = at(*i).condition == Condition::kResumable;
      if (resumable && seen++ < *policy_.keep_optimizer_last) {
        because(*i, fmt::format("optimizer of the last {}", *policy_.keep_optimizer_last));
      } else if (touchable_[*i] && at(*i).slim_block.empty()) {
        item.verb = Verb::kSlim;
        because(*i, fmt::format("optimizer of the last {} only", *policy_.keep_optimizer_last));
      }
    }
  }

  void fail(Error error) {
    plan_.failure = error.in_file(escape_name(run_.path));
    for (PlanItem& item : plan_.items) {
      if (item.verb == Verb::kKeep) continue;
      item.verb = Verb::kKeep;
      item.reasons = {"nothing is touched: " + plan_.failure->message()};
    }
  }

  void check_safety() {
    const std::uint64_t loses = plan_.count(Verb::kRemove) + plan_.count(Verb::kSlim);
    if (loses == 0) return;
    if (lacks_metric_)
      fail(malformed(fmt::format("no checkpoint has a value of {}", escape_name(run_.metric.name)))
               .hint("name another with --metric; nothing was changed"));
    else if (!plan_.anchor && !policy_.allow_unresumable)
      fail(nothing_resumable(run_));
  }

  const RunFacts& run_;
  const Policy& policy_;
  RunPlan plan_;
  std::vector<std::size_t> complete_;  // oldest first
  std::vector<bool> touchable_;
  bool lacks_metric_ = false;
};

// All runs together, under limits.
class Limiter {
 public:
  Limiter(const std::vector<RunFacts>& runs, Plan& plan, Ledger& ledger, bool allow_unresumable)
      : runs_(runs), plan_(plan), ledger_(ledger), allow_unresumable_(allow_unresumable) {}

  void limit_total(std::uint64_t most) {
    const std::string reason = "oldest, --max-total " + format_size(most);
    while (ledger_.used() > most && remove_oldest(std::nullopt, reason)) continue;
    plan_.over_total = ledger_.used() > most ? ledger_.used() - most : 0;
  }

  void limit_free(std::uint64_t least) {
    std::map<dev_t, std::uint64_t> free;
    for (const RunFacts& run : runs_) {
      if (!run.failure) free[run.device] = run.free_bytes;
    }
    const std::string reason = "oldest, --min-free " + format_size(least);
    for (const auto& [device, bytes] : free) {
      const std::uint64_t now = bytes;
      const auto have = [&, d = device] { return now + ledger_.freed(d); };
      while (have() < least && remove_oldest(device, reason)) continue;
      plan_.short_of_free = std::max(plan_.short_of_free, have() < least ? least - have() : 0);
    }
  }

 private:
  // The oldest of a run is the one of the lowest step; among runs time decides.
  bool remove_oldest(std::optional<dev_t> device, const std::string& reason) {
    std::optional<std::pair<std::size_t, std::size_t>> oldest;
    std::vector<std::size_t> unresumable;
    for (std::size_t r = 0; r < runs_.size(); ++r) {
      if ((device && runs_[r].device != *device) || plan_.runs[r].failure) continue;
      const std::optional<std::size_t> first = first_removable(r);
      if (first && !plan_.runs[r].anchor && !allow_unresumable_) {
        unresumable.push_back(r);
        continue;
      }
      if (first && (!oldest || runs_[r].checkpoints[*first].time_ns <
                                   runs_[oldest->first].checkpoints[oldest->second].time_ns))
        oldest = {r, *first};
    }
    if (!oldest) {
      for (const std::size_t r : unresumable) plan_.runs[r].failure = nothing_resumable(runs_[r]);
      return false;
    }
    PlanItem& item = plan_.runs[oldest->first].items[oldest->second];
    item.verb = Verb::kRemove;
    item.reasons = {reason};
    item.frees += ledger_.remove(oldest->first, oldest->second);
    return true;
  }

  std::optional<std::size_t> first_removable(std::size_t r) {
    const RunPlan& run = plan_.runs[r];
    std::size_t& next = next_[r];  // what was passed once stays passed
    for (; next < run.items.size(); ++next) {
      const PlanItem& item = run.items[next];
      const bool stays = item.verb == Verb::kKeep || item.verb == Verb::kSlim;
      if (stays && !item.is_protected && !item.is_torn) return next;
    }
    return std::nullopt;
  }

  const std::vector<RunFacts>& runs_;
  Plan& plan_;
  Ledger& ledger_;
  bool allow_unresumable_;
  std::map<std::size_t, std::size_t> next_;
};

}  // namespace

std::string_view verb_name(Verb verb) {
  switch (verb) {
    case Verb::kKeep:
      return "keep";
    case Verb::kSlim:
      return "slim";
    case Verb::kRemove:
      return "remove";
    case Verb::kAside:
      return "aside";
  }
  return "";
}

std::uint64_t RunPlan::count(Verb verb) const {
  return static_cast<std::uint64_t>(
      std::count_if(items.begin(), items.end(), [verb](const PlanItem& item) { return item.verb == verb; }));
}

bool is_being_written(const CheckpointFacts& checkpoint, std::int64_t now_ns) {
  if (checkpoint.writer) return true;
  return checkpoint.condition == Condition::kTorn && age_ns(checkpoint.changed_ns, now_ns) < kWritingAge;
}

Plan make_plan(const std::vector<RunFacts>& runs, const Policy& policy) {
  Plan plan;
  Ledger ledger(runs);
  plan.bytes_before = ledger.used();
  for (std::size_t r = 0; r < runs.size(); ++r) {
    RunPlan& run = plan.runs.emplace_back();
    if (!runs[r].failure) run = RunPlanner(runs[r], policy).plan();
    run.bytes_before = Ledger::used_by(runs[r]);
    for (std::size_t i = 0; i < run.items.size(); ++i) {
      if (run.items[i].verb == Verb::kRemove) run.items[i].frees = ledger.remove(r, i);
      if (run.items[i].verb == Verb::kSlim) run.items[i].frees = ledger.slim(r, i);
    }
  }
  Limiter limiter(runs, plan, ledger, policy.allow_unresumable);
  if (policy.max_total) limiter.limit_total(*policy.max_total);
  if (policy.min_free) limiter.limit_free(*policy.min_free);
  plan.bytes_after = ledger.used();
  for (RunPlan& run : plan.runs) {
    std::uint64_t freed = 0;
    for (const PlanItem& item : run.items) freed += item.frees;
    run.bytes_after = run.bytes_before - std::min(run.bytes_before, freed);
  }
  return plan;
}

}  // namespace mu
