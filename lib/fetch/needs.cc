// SPDX-License-Identifier: Apache-2.0
#include "fetch/needs.h"

#include <algorithm>
#include <iterator>

namespace mu {
namespace {

// Adds a run to a list in order, joined to the last if it begins where that ends.
void append(std::vector<FarRange>& list, const FarFile* file, std::uint64_t begin, std::uint64_t end) {
  if (!list.empty() && list.back().file == file && list.back().offset + list.back().size == begin)
    list.back().size += end - begin;
  else
    list.push_back({file, begin, end - begin});
}

// Calls visit(stretch) for those that meet the range.
template <typename Files, typename Visit>
void for_stretches(Files& files, const FarRange& range, Visit visit) {
  const auto found = files.find(range.file);
  if (found == files.end()) return;
  auto stretch = std::partition_point(found->second.begin(), found->second.end(),
                                      [&](const auto& one) { return one.end <= range.offset; });
  for (; stretch != found->second.end() && stretch->begin < range.offset + range.size; ++stretch)
    visit(*stretch);
}

}  // namespace

SequencePlaces::SequencePlaces(const std::vector<FarRange>& sequence) : sequence_(sequence) {
  for (std::size_t i = 0; i < sequence.size(); ++i) begins_[sequence[i].file][sequence[i].offset] = i;
}

SequencePoint SequencePlaces::end_of(const std::vector<FarRange>& needs) const {
  SequencePoint end;
  for (const FarRange& need : needs) {
    const std::map<std::uint64_t, std::size_t>& begins = begins_.at(need.file);
    auto at = begins.upper_bound(need.offset);
    if (at != begins.begin()) --at;
    for (; at != begins.end() && at->first < need.offset + need.size; ++at) {
      const FarRange& range = sequence_[at->second];
      if (range.offset + range.size <= need.offset) continue;
      const std::uint64_t last = std::min(range.offset + range.size, need.offset + need.size);
      end = std::max(end, SequencePoint{at->second, last - range.offset});
    }
  }
  return end;
}

Needs::Needs(const std::vector<std::vector<FarRange>>& jobs) {
  // How many needs begin (+) and end (-) at a byte.
  std::map<const FarFile*, std::map<std::uint64_t, std::int64_t>> changes;
  for (const std::vector<FarRange>& job : jobs) {
    for (const FarRange& need : job) {
      changes[need.file][need.offset] += 1;
      changes[need.file][need.offset + need.size] -= 1;
    }
  }
  for (const auto& [file, at] : changes) {
    std::int64_t count = 0;
    std::uint64_t begin = 0;
    for (const auto& [offset, change] : at) {
      if (count > 0) files_[file].push_back({begin, offset, static_cast<std::uint64_t>(count)});
      count += change;
      begin = offset;
    }
  }
}

std::vector<FarRange> Needs::within(const FarRange& range) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<FarRange> needed;
  for_stretches(files_, range, [&](const Stretch& one) {
    if (one.jobs == 0) return;
    append(needed, range.file, std::max(one.begin, range.offset),
           std::min(one.end, range.offset + range.size));
  });
  return needed;
}

std::vector<FarRange> Needs::finish(const std::vector<FarRange>& job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<FarRange> free;
  for (const FarRange& need : job) {
    for_stretches(files_, need, [&](Stretch& one) {
      if (--one.jobs == 0) append(free, need.file, one.begin, one.end);
    });
  }
  return free;
}

}  // namespace mu
