// SPDX-License-Identifier: Apache-2.0
#include "fetch/ranges.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "fetch/byte_set.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxLeft = 8ULL << 20;  // bytes

std::uint64_t end_of(const FarRange& range) {
  return range.offset + range.size;
}

// Adds it to the last range if it begins there or up to `gap` bytes behind it.
void append(std::vector<FarRange>& list, const FarRange& range, std::uint64_t gap) {
  if (!list.empty() && list.back().file == range.file && range.offset >= list.back().offset &&
      range.offset <= end_of(list.back()) + gap) {
    list.back().size = std::max(end_of(list.back()), end_of(range)) - list.back().offset;
  } else {
    list.push_back(range);
  }
}

// A file as its ranges go through it.
struct Passage {
  std::uint64_t reached;   // bytes; the first are here without any range
  std::uint64_t left = 0;  // bytes before `reached` that no range has
  std::uint64_t last_end = 0;
  bool ascends = true;

  void go_on(const FarRange& range) {
    ascends = ascends && range.offset >= last_end;
    last_end = end_of(range);
    if (range.offset > reached) left += range.offset - reached;
    reached = std::max(reached, last_end);
  }
};

using Passages = std::unordered_map<const FarFile*, Passage>;

Passage& passage_of(Passages& passages, const FarFile* file) {
  return passages.emplace(file, Passage{file->start.size()}).first->second;
}

bool is_nearly_whole(const FarFile& file, const Passage& passage) {
  const std::uint64_t left = passage.left + (file.size - std::min(file.size, passage.reached));
  return !file.sha256.empty() && passage.ascends && left <= std::min(file.size / 64, kMaxLeft);
}

}  // namespace

std::vector<FarRange> in_file_order(const std::vector<FarRange>& wanted) {
  std::unordered_map<const FarFile*, std::size_t> place;
  for (const FarRange& range : wanted) place.emplace(range.file, place.size());
  std::vector<FarRange> sorted = wanted;
  std::sort(sorted.begin(), sorted.end(), [&](const FarRange& a, const FarRange& b) {
    return std::pair(place[a.file], a.offset) < std::pair(place[b.file], b.offset);
  });
  std::vector<FarRange> ranges;
  for (const FarRange& range : sorted)
    if (range.size != 0) append(ranges, range, kFarGap);
  return ranges;
}

std::vector<FarRange> joined_in_order(const std::vector<FarRange>& wanted) {
  std::unordered_map<const FarFile*, ByteSet> listed;
  std::vector<FarRange> ranges;
  for (const FarRange& range : wanted) {
    ByteSet& bytes = listed[range.file];
    for (const ByteRun& run : bytes.missing_of({range.offset, end_of(range)})) {
      // A gap in which something was read before is not read again.
      const std::uint64_t from = ranges.empty() ? 0 : end_of(ranges.back());
      const bool is_gap = from <= run.begin && bytes.misses({from, run.begin});
      append(ranges, {range.file, run.begin, run.end - run.begin}, is_gap ? kFarGap : 0);
      bytes.add({ranges.back().offset, end_of(ranges.back())});
    }
  }
  return ranges;
}

std::vector<FarRange> with_whole_files(std::vector<FarRange> ranges) {
  Passages planned, passages;
  for (const FarRange& range : ranges) passage_of(planned, range.file).go_on(range);
  std::unordered_map<const FarFile*, std::size_t> last;
  for (std::size_t i = 0; i < ranges.size(); ++i) last[ranges[i].file] = i;
  std::vector<FarRange> longer;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    FarRange range = ranges[i];
    if (const FarFile& file = *range.file; is_nearly_whole(file, planned.at(&file))) {
      const std::uint64_t begin = std::min(passage_of(passages, &file).reached, range.offset);
      const std::uint64_t end = last.at(&file) == i ? std::max(file.size, end_of(range)) : end_of(range);
      range = {&file, begin, end - begin};
      passage_of(passages, &file).go_on(range);
    }
    append(longer, range, 0);
  }
  return longer;
}

std::uint64_t bytes_of(const std::vector<FarRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const FarRange& range : ranges) bytes += range.size;
  return bytes;
}

std::vector<const FarFile*> files_of(const std::vector<FarRange>& ranges) {
  std::vector<const FarFile*> files;
  std::unordered_set<const FarFile*> listed;
  for (const FarRange& range : ranges) {
    if (listed.insert(range.file).second) files.push_back(range.file);
  }
  return files;
}

bool has_versions(const std::vector<FarRange>& ranges) {
  return std::all_of(ranges.begin(), ranges.end(),
                     [](const FarRange& range) { return !range.file->version.empty(); });
}

}  // namespace mu
