// SPDX-License-Identifier: Apache-2.0
// Goes from the highest step down. If the logs read so far begin with a checkpoint's log, it belongs to a
// known run; otherwise it starts another run, and its log is read completely. So a folder with one run costs
// one log, however many checkpoints it has. For a large state only the first and the last entry are compared.
// It hardly happens that another run's log holds the same two (two runs that diverged to NaN, perhaps), and
// if the times look odd, the whole log is read after all.

#include "ckpt/lineage.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "ckpt/log_mark.h"

namespace mu {
namespace {

constexpr std::uint64_t kMostText =
    64U
    << 20;  // bytes of states read beyond the first: bounds the time when many checkpoints seem to start runs of their own

// Checkpoints whose states can be read, the longest logs first.
std::vector<std::size_t> by_step_down(const std::vector<CheckpointFacts>& checkpoints) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    if (checkpoints[i].is_complete() && checkpoints[i].state) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&checkpoints](std::size_t a, std::size_t b) {
    const auto key = [&checkpoints](std::size_t i) {
      return std::tuple(checkpoints[i].number.value_or(0), checkpoints[i].state->size, i);
    };
    return key(a) > key(b);
  });
  return order;
}

}  // namespace

std::vector<Lineage> find_lineages(std::vector<CheckpointFacts>& checkpoints, const ReadWholeState& read) {
  const std::vector<std::size_t> order = by_step_down(checkpoints);
  std::vector<Lineage> lineages;
  std::optional<Lineage> silent;  // the newest state without a log
  std::unordered_set<std::uint64_t> ends, beginnings;
  const auto is_known = [&](const LogMark& mark) {
    return mark.all != 0 ? beginnings.contains(mark.all) : mark.ends != 0 && ends.contains(mark.ends);
  };
  std::uint64_t text = 0;
  std::int64_t earliest_ns = std::numeric_limits<std::int64_t>::max();  // of the higher steps
  for (const std::size_t i : order) {
    CheckpointFacts& checkpoint = checkpoints[i];
    LogMark& mark = checkpoint.log;
    const bool is_odd = checkpoint.time_ns > earliest_ns && mark.all == 0;
    earliest_ns = std::min(earliest_ns, checkpoint.time_ns);
    if (mark.is_empty && (silent || !lineages.empty())) continue;
    if (is_known(mark) && !is_odd) continue;
    if (!lineages.empty() && (text += checkpoint.state->size) > kMostText) continue;
    std::optional<TrainerState> state = read(checkpoint);
    if (!state) continue;
    mark = mark_log(*state);
    if (mark.is_empty && !silent) silent = {i, std::move(*state)};
    if (mark.is_empty || is_known(mark)) continue;
    const LogHashes hashes = hash_log(*state);
    ends.insert(hashes.ends.begin(), hashes.ends.end());
    beginnings.insert(hashes.beginnings.begin(), hashes.beginnings.end());
    lineages.push_back({i, std::move(*state)});
  }
  if (lineages.empty() && silent) lineages.push_back(std::move(*silent));
  std::stable_sort(lineages.begin(), lineages.end(), [&checkpoints](const Lineage& a, const Lineage& b) {
    return checkpoints[a.newest].time_ns > checkpoints[b.newest].time_ns;
  });
  std::unordered_map<std::uint64_t, std::size_t> of_ends, of_beginning;
  for (std::size_t k = 0; k < lineages.size(); ++k) {
    const LogHashes hashes = hash_log(lineages[k].state);
    for (const std::uint64_t hash : hashes.ends) of_ends.try_emplace(hash, k);
    for (const std::uint64_t hash : hashes.beginnings) of_beginning.try_emplace(hash, k);
  }
  for (const std::size_t i : order) {
    const LogMark& mark = checkpoints[i].log;
    const auto& table = mark.all != 0 ? of_beginning : of_ends;
    const auto found = table.find(mark.all != 0 ? mark.all : mark.ends);
    if (checkpoints[i].is_complete() && !mark.is_empty && found != table.end())
      checkpoints[i].lineage = found->second;
  }
  return lineages;
}

}  // namespace mu
