// SPDX-License-Identifier: Apache-2.0
#include "fetch/byte_set.h"

#include <algorithm>
#include <iterator>

namespace mu {

void ByteSet::add(ByteRun run) {
  if (run.begin >= run.end) return;
  auto at = runs_.upper_bound(run.begin);
  if (at != runs_.begin() && std::prev(at)->second >= run.begin) --at;
  while (at != runs_.end() && at->first <= run.end) {
    run = {std::min(run.begin, at->first), std::max(run.end, at->second)};
    bytes_ -= at->second - at->first;
    at = runs_.erase(at);
  }
  runs_.emplace_hint(at, run.begin, run.end);
  bytes_ += run.end - run.begin;
}

void ByteSet::remove(ByteRun run) {
  if (run.begin >= run.end) return;
  auto at = runs_.upper_bound(run.begin);
  if (at != runs_.begin() && std::prev(at)->second > run.begin) --at;
  while (at != runs_.end() && at->first < run.end) {
    const ByteRun old{at->first, at->second};
    at = runs_.erase(at);
    bytes_ -= std::min(old.end, run.end) - std::max(old.begin, run.begin);
    if (old.begin < run.begin) runs_.emplace_hint(at, old.begin, run.begin);
    if (old.end > run.end) at = runs_.emplace_hint(at, run.end, old.end);
  }
}

bool ByteSet::has(ByteRun run) const {
  if (run.begin >= run.end) return true;
  const auto after = runs_.upper_bound(run.begin);
  return after != runs_.begin() && std::prev(after)->second >= run.end;
}

bool ByteSet::misses(ByteRun run) const {
  if (run.begin >= run.end) return true;
  const auto after = runs_.lower_bound(run.end);
  return after == runs_.begin() || std::prev(after)->second <= run.begin;
}

std::vector<ByteRun> ByteSet::missing_of(ByteRun run) const {
  std::vector<ByteRun> missing;
  auto at = runs_.upper_bound(run.begin);
  if (at != runs_.begin() && std::prev(at)->second > run.begin) --at;
  for (; at != runs_.end() && at->first < run.end; ++at) {
    if (at->first > run.begin) missing.push_back({run.begin, at->first});
    run.begin = std::max(run.begin, at->second);
  }
  if (run.begin < run.end) missing.push_back(run);
  return missing;
}

ByteRun ByteSet::widened(ByteRun run) const {
  const auto after = runs_.lower_bound(run.end);
  const auto before = runs_.upper_bound(run.begin);
  return {before == runs_.begin() ? 0 : std::prev(before)->second,
          after == runs_.end() ? UINT64_MAX : after->first};
}

}  // namespace mu
