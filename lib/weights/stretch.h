// SPDX-License-Identifier: Apache-2.0
// Runs put end to end, and a stretch of them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mu {

// Calls take(run, first, count) for what each run has of [from, from + count), in order; the stretch may reach beyond
// the last run. `length` is the member of a run that says how long it is.
template <typename Runs, typename Length, typename Take>
void for_stretch(const Runs& runs, Length length, std::uint64_t from, std::uint64_t count, Take take) {
  for (const auto& run : runs) {
    if (count == 0) return;
    if (from >= run.*length) {
      from -= run.*length;
      continue;
    }
    const std::uint64_t here = std::min(count, run.*length - from);
    take(run, from, here);
    from = 0;
    count -= here;
  }
}

}  // namespace mu
