// SPDX-License-Identifier: Apache-2.0
#include "ckpt/limits.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/sizes.h"
#include "ckpt/run_plan.h"

namespace mu {
namespace {

// Applies limits to all runs together.
class Limiter {
 public:
  Limiter(const std::vector<RunFacts>& runs, Plan& plan, Ledger& ledger)
      : runs_(runs), plan_(plan), ledger_(ledger) {}

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
  // Within a run the oldest has the lowest step; among runs, time decides.
  bool remove_oldest(std::optional<dev_t> device, const std::string& reason) {
    std::optional<std::pair<std::size_t, std::size_t>> oldest;
    std::vector<std::size_t> unresumable;
    for (std::size_t r = 0; r < runs_.size(); ++r) {
      if ((device && runs_[r].device != *device) || plan_.runs[r].failure) continue;
      const std::optional<std::size_t> first = first_removable(r);
      if (first && plan_.runs[r].needs_leave) {
        unresumable.push_back(r);
        continue;
      }
      if (first && (!oldest || runs_[r].checkpoints[*first].time_ns <
                                   runs_[oldest->first].checkpoints[oldest->second].time_ns))
        oldest = {r, *first};
    }
    if (!oldest) {
      for (const std::size_t r : unresumable) plan_.runs[r].refuse(nothing_resumable(runs_[r]));
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
    const auto [found, fresh] = order_.try_emplace(r);
    if (fresh) found->second = order_of(runs_[r]);
    std::size_t& next = next_[r];  // never goes back: verbs only change to remove
    for (; next < run.items.size(); ++next) {
      const std::size_t i = found->second[next];
      const PlanItem& item = run.items[i];
      const bool stays = item.verb == Verb::kKeep || item.verb == Verb::kSlim;
      if (stays && !item.is_protected && !item.is_torn) return i;
    }
    return std::nullopt;
  }

  // What an older run left in the folder goes before anything of the run saved last.
  static std::vector<std::size_t> order_of(const RunFacts& run) {
    std::vector<std::size_t> order(run.checkpoints.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&run](std::size_t a, std::size_t b) {
      return run.checkpoints[a].lineage.value_or(0) > run.checkpoints[b].lineage.value_or(0);
    });
    return order;
  }

  const std::vector<RunFacts>& runs_;
  Plan& plan_;
  Ledger& ledger_;
  std::map<std::size_t, std::vector<std::size_t>> order_;  // by run: checkpoints in the order they go
  std::map<std::size_t, std::size_t> next_;
};

}  // namespace

void apply_limits(const std::vector<RunFacts>& runs, const Policy& policy, Ledger& ledger, Plan& plan) {
  Limiter limiter(runs, plan, ledger);
  if (policy.max_total) limiter.limit_total(*policy.max_total);
  if (policy.min_free) limiter.limit_free(*policy.min_free);
}

}  // namespace mu
