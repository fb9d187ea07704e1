// SPDX-License-Identifier: Apache-2.0
// How one run is planned. Reasons decide: a checkpoint with at least one reason stays, and one without is
// removed, so no rule can undo what another keeps. The steps add reasons in this order. Protection comes
// first and holds whatever the rules say (the newest resumable checkpoint, the best, pins, links, writers).
// Then the rules, which count the complete checkpoints of the run saved last; what older runs in the folder
// reached stays as far as it is their newest or their best. Torn checkpoints are a case of their own, since
// rules count only complete ones. Slimming then looks at what stays. At the end a safety check may take back
// the whole plan: nothing goes if no checkpoint is complete or none can be resumed from, unless the user
// allows it.

#include "ckpt/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/duration.h"
#include "base/text.h"
#include "ckpt/standing.h"

namespace mu {
namespace {

class RunPlanner {
 public:
  RunPlanner(const RunFacts& run, const Policy& policy)
      : run_(run),
        policy_(policy),
        standing_(standing_of(run, policy.torn_age_seconds)),
        counted_(standing_.counted),
        touchable_(run.checkpoints.size(), true) {
    plan_.items.resize(run.checkpoints.size());
    plan_.anchor = standing_.anchor;
    plan_.notes = standing_.notes;
    for (std::size_t i = 0; i < run.checkpoints.size(); ++i)
      plan_.items[i].is_torn = at(i).is_staging || (at(i).is_rank_only && !standing_.is_rank_only) ||
                               at(i).condition == Condition::kTorn;
  }

  RunPlan plan() {
    plan_.needs_leave = needs_leave();
    protect();
    if (has_rule()) {
      keep_by_rules();
      keep_of_other_runs();
    } else {
      for (std::size_t i = 0; i < plan_.items.size(); ++i) {
        if (!plan_.items[i].is_torn && !plan_.items[i].is_protected) because(i, "no rule removes it");
      }
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

  // `whole`: the reason needs all of the checkpoint, so it is not slimmed either.
  void protect_one(std::size_t i, std::string reason, bool whole) {
    plan_.items[i].is_protected = true;
    if (whole) touchable_[i] = false;
    because(i, std::move(reason));
  }

  // If nothing was ever evaluated there is no best, and --keep-best asks for nothing.
  bool has_no_best() const { return !run_.has_evaluations && !run_.metric.is_given; }

  bool has_rule() const {
    Policy others = policy_;
    if (has_no_best()) others.keep_best.reset();
    return others.has_keep_rule();
  }

  // A run that saves nothing for resuming (save_only_model) loses nothing by removal.
  bool needs_leave() const {
    if (plan_.anchor || policy_.allow_unresumable) return false;
    if (standing_.is_rank_only) return !policy_.follow;
    bool any = false;
    for (const CheckpointFacts& c : run_.checkpoints) {
      if (!c.is_complete()) continue;
      if (!c.saves_model_only) return true;
      any = true;
    }
    return !any;
  }

  void protect() {
    if (standing_.newest && !(standing_.is_rank_only && policy_.follow))
      protect_one(*standing_.newest,
                  plan_.anchor             ? "newest resumable"
                  : standing_.is_rank_only ? "newest"
                                           : "newest complete",
                  true);
    for (const Claim& claim : standing_.claims) protect_one(claim.checkpoint, claim.reason, true);
    for (std::size_t i = 0; i < run_.checkpoints.size(); ++i) {
      const CheckpointFacts& c = at(i);
      if (c.name == run_.best && c.is_complete()) protect_one(i, "best of the run", false);
      if (c.condition == Condition::kUnreadable) protect_one(i, "can't be read: " + c.why, true);
      if (c.writer)
        protect_one(i, "process " + *c.writer + " writes to it", true);
      else if (may_grow(c))
        protect_one(i, c.why.empty() ? "may still be being written" : "being written: " + c.why, true);
      if (c.has_mount) protect_one(i, "something is mounted in it", true);
      if (c.linked_by) protect_one(i, "the link " + *c.linked_by + " points here", true);
      if (c.has_keep_file) protect_one(i, "it holds a file KEEP", true);
      if (is_pinned(c)) protect_one(i, "pinned", true);
    }
  }

  // Files of some ranks never show that they are all there.
  bool may_grow(const CheckpointFacts& c) const {
    return is_being_written(c, run_.now_ns) ||
           (standing_.is_rank_only && c.is_rank_only && age_ns(c.changed_ns, run_.now_ns) < kWritingNs);
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
      const std::size_t n = std::min<std::uint64_t>(*policy_.keep_last, counted_.size());
      for (std::size_t k = counted_.size() - n; k < counted_.size(); ++k)
        because(counted_[k], fmt::format("last {}", *policy_.keep_last));
    }
    if (policy_.keep_best) keep_best(*policy_.keep_best);
    if (policy_.keep_epochs) keep_epochs();
    if (policy_.keep_within_seconds) keep_within(*policy_.keep_within_seconds);
    for (const std::size_t i : counted_) {
      const std::optional<std::uint64_t> step = at(i).number;
      if (step && policy_.keep_every && *step % *policy_.keep_every == 0)
        because(i, fmt::format("every {}", *policy_.keep_every));
      if (policy_.follow && is_followed(at(i))) because(i, "kept in " + policy_.follow->path);
      if (step &&
          std::find(policy_.keep_steps.begin(), policy_.keep_steps.end(), *step) != policy_.keep_steps.end())
        because(i, fmt::format("step {} was asked for", *step));
    }
  }

  bool is_followed(const CheckpointFacts& c) const {
    const Followed& there = *policy_.follow;
    return c.number ? std::binary_search(there.steps.begin(), there.steps.end(), *c.number)
                    : std::find(there.names.begin(), there.names.end(), c.name) != there.names.end();
  }

  // The rules apply to the run that was saved last. The newest and the best of an older run in the folder
  // stay, for limits to take; a step that was asked for by number stays in every run.
  void keep_of_other_runs() {
    for (std::size_t k = 0; k < standing_.others.size(); ++k) {
      const std::vector<std::size_t>& other = standing_.others[k];
      const auto resumable = std::find_if(other.rbegin(), other.rend(), [this](std::size_t i) {
        return at(i).condition == Condition::kResumable;
      });
      for (const std::size_t i : other) {
        if (i == (resumable == other.rend() ? other.back() : *resumable)) {
          because(i, "newest of another run");
          touchable_[i] = false;
        }
        if (at(i).name == run_.other_bests[k]) because(i, "best of another run");
        if (at(i).number && std::find(policy_.keep_steps.begin(), policy_.keep_steps.end(), *at(i).number) !=
                                policy_.keep_steps.end())
          because(i, fmt::format("step {} was asked for", *at(i).number));
      }
    }
  }

  // Of equal values the earlier wins, as in the Trainer: a later equal one is not an improvement.
  void keep_best(std::uint64_t count) {
    if (count == 0 || has_no_best()) return;
    lacks_metric_ = !run_.metric.is_logged;
    if (lacks_metric_) return;
    if (!run_.metric.lower_is_better)
      throw usage(
          fmt::format("can't tell whether a low or a high {} is better", escape_name(run_.metric.name)))
          .hint("give --min or --max");
    std::vector<std::pair<double, std::size_t>> ranked;
    for (const std::size_t i : counted_) {
      if (const std::optional<double> value = run_.rank_value(at(i)))
        ranked.emplace_back(*run_.metric.lower_is_better ? *value : -*value, i);
    }
    lacks_metric_ = ranked.empty();
    std::sort(ranked.begin(), ranked.end());
    for (std::size_t k = 0; k < ranked.size() && k < count; ++k)
      because(ranked[k].second, fmt::format("best {}: {} {:.6g}", count, run_.metric.name,
                                            *run_.rank_value(at(ranked[k].second))));
  }

  void keep_epochs() {
    std::map<double, std::size_t> last_of;
    for (const std::size_t i : counted_) {
      // A checkpoint at the very end of an epoch holds 3.0 and belongs to the third. The Trainer adds up
      // fractions, which may end a little above: hence 1e-6.
      if (at(i).epoch && std::isfinite(*at(i).epoch)) last_of[std::ceil(*at(i).epoch - 1e-6)] = i;
    }
    for (const auto& [epoch, i] : last_of) because(i, fmt::format("last of epoch {}", std::max(epoch, 1.0)));
  }

  void keep_within(std::uint32_t seconds) {
    if (counted_.empty()) return;
    // Counted back from the newest, or from now if the clock of that one ran ahead: otherwise everything
    // older would drop out.
    const std::int64_t from = std::min(at(counted_.back()).time_ns, run_.now_ns);
    for (const std::size_t i : counted_) {
      if (at(i).time_ns >= from - seconds * kSecond) because(i, "within " + format_duration(seconds));
    }
  }

  void judge_torn() {
    std::optional<std::size_t> newest;
    for (std::size_t i = 0; i < plan_.items.size(); ++i) {
      if (plan_.items[i].is_torn && !at(i).is_staging) newest = i;
    }
    for (std::size_t i = 0; i < plan_.items.size(); ++i) {
      PlanItem& item = plan_.items[i];
      if (!item.is_torn || item.is_protected) continue;
      because(i, "torn: " + (at(i).why.empty() ? "only files of some ranks" : at(i).why));
      if (policy_.torn == TornAction::kKeep) continue;
      const bool is_fresh = age_ns(at(i).changed_ns, run_.now_ns) < policy_.torn_age_seconds * kSecond;
      // Checkpoints of older runs in this folder do not show whether a save is going on.
      const bool may_be_waited_for = at(i).is_staging || counted_.empty() || i > counted_.back();
      if (may_be_waited_for && is_fresh)
        because(i,
                fmt::format("{}left until nothing has changed for {}", at(i).is_staging ? "" : "the newest, ",
                            format_duration(policy_.torn_age_seconds)));
      else if (!has_whole() && i == newest && policy_.torn == TornAction::kRemove &&
               policy_.allow_unresumable)
        because(i, "the newest, and none is complete: it may only be put aside");
      else
        item.verb = policy_.torn == TornAction::kRemove ? Verb::kRemove : Verb::kAside;
    }
  }

  bool has_whole() const {
    return standing_.is_rank_only ||
           std::any_of(run_.checkpoints.begin(), run_.checkpoints.end(),
                       [](const CheckpointFacts& c) { return c.is_complete() && !c.is_rank_only; });
  }

  void slim() {
    if (!policy_.keep_optimizer_last || standing_.is_rank_only) return;
    std::uint64_t seen = 0;
    std::vector<std::size_t> oldest_first;
    for (const std::vector<std::size_t>& other : standing_.others)
      oldest_first.insert(oldest_first.begin(), other.begin(), other.end());
    oldest_first.insert(oldest_first.end(), counted_.begin(), counted_.end());
    for (auto i = oldest_first.rbegin(); i != oldest_first.rend(); ++i) {
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

  void fail(Error error) { plan_.refuse(error.in_file(escape_name(run_.path))); }

  void check_safety() {
    if (!has_whole() && !policy_.allow_unresumable && plan_.changes_anything()) {
      fail(refused("no checkpoint here is complete")
               .hint("--allow-unresumable goes on anyway; nothing was changed"));
      return;
    }
    // A young run may not have been evaluated yet; but if other metrics were logged, the name is wrong.
    const bool is_misnamed = lacks_metric_ && !run_.metric.is_logged && run_.has_evaluations;
    if (plan_.count(Verb::kRemove) + plan_.count(Verb::kSlim) == 0 && !is_misnamed) return;
    if (lacks_metric_)
      fail(malformed(fmt::format("no checkpoint has a value for {}", escape_name(run_.metric.name)))
               .hint("name another with --metric; nothing was changed"));
    else if (plan_.needs_leave)
      fail(nothing_resumable(run_));
    else if (policy_.keep_best.value_or(0) > 0 && has_no_best())
      plan_.notes.emplace_back("no evaluation is logged: --keep-best keeps nothing");
  }

  const RunFacts& run_;
  const Policy& policy_;
  const Standing standing_;
  const std::vector<std::size_t>& counted_;  // of `standing_`
  RunPlan plan_;
  std::vector<bool> touchable_;
  bool lacks_metric_ = false;
};

}  // namespace

Error nothing_resumable(const RunFacts& run) {
  const auto is_rank_only = [](const CheckpointFacts& c) { return c.is_rank_only; };
  const auto is_model = [](const CheckpointFacts& c) { return c.is_complete() && !c.is_rank_only; };
  const bool only_ranks = std::any_of(run.checkpoints.begin(), run.checkpoints.end(), is_rank_only) &&
                          std::none_of(run.checkpoints.begin(), run.checkpoints.end(), is_model);
  Error error = refused(only_ranks ? "holds only files of some ranks, from which nothing can be resumed"
                                   : "no checkpoint here can be resumed from");
  error.in_file(escape_name(run.path))
      .hint(only_ranks ? "--follow RUN_DIR keeps the steps that are kept there, --allow-unresumable applies "
                         "the rules; "
                         "nothing was changed"
                       : "--allow-unresumable goes on anyway; nothing was changed");
  return error;
}

RunPlan plan_run(const RunFacts& run, const Policy& policy) {
  return RunPlanner(run, policy).plan();
}

}  // namespace mu
