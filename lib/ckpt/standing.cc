// SPDX-License-Identifier: Apache-2.0
#include "ckpt/standing.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/duration.h"

namespace mu {
namespace {

class Assessor {
 public:
  Assessor(const RunFacts& run, std::uint32_t torn_age_seconds)
      : run_(run), torn_age_seconds_(torn_age_seconds), is_above_(run.checkpoints.size()) {}

  Standing assess() {
    standing_.is_rank_only = holds_ranks_only();
    has_numbers_ = std::any_of(run_.checkpoints.begin(), run_.checkpoints.end(),
                               [](const CheckpointFacts& c) { return c.number.has_value(); });
    follow_trackers();
    sort_out();
    find_anchor();
    claim_newest_saved();
    return std::move(standing_);
  }

 private:
  const CheckpointFacts& at(std::size_t i) const { return run_.checkpoints[i]; }

  // Beside a complete checkpoint, files of some ranks are torn checkpoints like any other.
  bool holds_ranks_only() const {
    bool any = false;
    for (const CheckpointFacts& c : run_.checkpoints) {
      if (c.is_staging || !c.is_complete()) continue;
      if (!c.is_rank_only) return false;
      any = true;
    }
    return any;
  }

  // Complete as far as the rules are concerned: as complete as it gets here.
  bool is_whole(std::size_t i) const {
    return at(i).is_complete() && at(i).is_rank_only == standing_.is_rank_only;
  }

  bool is_growing(std::size_t i) const {
    const bool is_fresh_rank = standing_.is_rank_only && age_ns(at(i).changed_ns, run_.now_ns) < kWritingNs;
    return is_fresh_rank || is_being_written(at(i), run_.now_ns);
  }

  std::vector<std::size_t> named_by(const Tracker& tracker) const {
    std::vector<std::size_t> named;
    for (std::size_t i = 0; i < run_.checkpoints.size(); ++i) {
      if (!tracker.entry.empty() && at(i).name == tracker.entry && is_whole(i)) named.push_back(i);
    }
    for (std::size_t i = 0; named.empty() && tracker.number && i < run_.checkpoints.size(); ++i) {
      if (at(i).number == tracker.number && is_whole(i)) named.push_back(i);
    }
    return named;
  }

  // Whether one is later than another in the order of the run. If others have numbers, one without is not
  // comparable.
  bool is_later(std::size_t i, std::size_t than) const {
    if (at(i).number && at(than).number) return *at(i).number > *at(than).number;
    return !has_numbers_ && i > than;
  }

  void follow_trackers() {
    std::optional<std::size_t> newest;  // checkpoint that a tracker names
    std::string name;                   // of that tracker
    std::int64_t changed_ns = 0;
    for (const Tracker& tracker : run_.trackers) {
      const std::vector<std::size_t> named = named_by(tracker);
      if (named.empty())
        standing_.notes.push_back(
            fmt::format("{} names '{}', which is not a complete checkpoint here: it is ignored", tracker.name,
                        tracker.says));
      for (const std::size_t i : named) {
        standing_.claims.push_back({i, "the trainer's last, by " + tracker.name});
        const bool is_newer = !newest || is_later(i, *newest);
        if (!is_newer && (is_later(*newest, i) || tracker.changed_ns <= changed_ns)) continue;
        newest = i;
        name = tracker.name;
        changed_ns = tracker.changed_ns;
      }
    }
    if (!newest) return;
    for (std::size_t i = 0; i < run_.checkpoints.size(); ++i) {
      const std::int64_t late_ns = at(i).time_ns - changed_ns;
      if (!is_later(i, *newest) || !is_whole(i) || late_ns <= torn_age_seconds_ * kSecond) continue;
      standing_.notes.push_back(fmt::format("{} is stale: {} was saved {} after it last changed", name,
                                            at(i).name,
                                            format_duration(static_cast<std::uint64_t>(late_ns / kSecond))));
      return;
    }
    for (std::size_t i = 0; i < run_.checkpoints.size(); ++i) {
      if (!is_later(i, *newest) || at(i).is_staging) continue;
      is_above_[i] = true;
      standing_.claims.push_back({i, name + " has not reached it yet"});
    }
  }

  void sort_out() {
    standing_.others.resize(run_.other_bests.size());
    for (std::size_t i = 0; i < run_.checkpoints.size(); ++i) {
      if (!is_whole(i) || is_growing(i) || is_above_[i]) continue;
      const std::size_t lineage = at(i).lineage.value_or(0);
      if (lineage == 0 || lineage > standing_.others.size())
        standing_.counted.push_back(i);
      else
        standing_.others[lineage - 1].push_back(i);
    }
  }

  std::optional<std::size_t> newest_resumable(const std::vector<std::size_t>& among) const {
    for (auto i = among.rbegin(); i != among.rend(); ++i) {
      if (at(*i).condition == Condition::kResumable) return *i;
    }
    return std::nullopt;
  }

  void find_anchor() {
    std::vector<std::vector<std::size_t>> runs = standing_.others;
    runs.insert(runs.begin(), standing_.counted);
    for (const std::vector<std::size_t>& one : runs) {
      if (!standing_.anchor && !standing_.is_rank_only) standing_.anchor = newest_resumable(one);
    }
    standing_.newest = standing_.anchor;
    for (const std::vector<std::size_t>& one : runs) {
      if (!standing_.newest && !one.empty()) standing_.newest = one.back();
    }
  }

  // If the logs can't separate a run that was started again from an old one, the one saved last may be the
  // run in progress.
  void claim_newest_saved() {
    std::optional<std::size_t> latest;
    const auto is_better = [this](std::size_t i, std::size_t than) {
      const bool resumes = at(i).condition == Condition::kResumable,
                 other = at(than).condition == Condition::kResumable;
      return resumes != other ? resumes : at(i).time_ns >= at(than).time_ns;
    };
    for (const std::size_t i : standing_.counted) {
      if (!at(i).lineage && (!latest || is_better(i, *latest))) latest = i;
    }
    if (!latest) return;
    if (at(*latest).time_ns <= at(*standing_.newest).time_ns + kSecond) return;
    const bool is_highest = is_later(*latest, *standing_.newest);
    standing_.claims.push_back(
        {*latest, is_highest ? "saved last" : "saved last, though not the highest step"});
  }

  const RunFacts& run_;
  const std::uint32_t torn_age_seconds_;
  Standing standing_;
  std::vector<bool> is_above_;
  bool has_numbers_ = false;
};

}  // namespace

Standing standing_of(const RunFacts& run, std::uint32_t torn_age_seconds) {
  return Assessor(run, torn_age_seconds).assess();
}

}  // namespace mu
