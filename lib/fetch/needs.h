// SPDX-License-Identifier: Apache-2.0
// Jobs that wait for bytes of a sequence: when each may be done, and which bytes none waits for any more.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "fetch/ranges.h"

namespace mu {

// A byte of a sequence: all before it is there when the fetch has passed it.
struct SequencePoint {
  std::size_t range = 0;
  std::uint64_t at = 0;  // bytes into the range

  auto operator<=>(const SequencePoint&) const = default;
};

// Where in the sequence the last of these ranges has come. No two ranges of the sequence overlap.
class SequencePlaces {
 public:
  explicit SequencePlaces(const std::vector<FarRange>& sequence);
  [[nodiscard]] SequencePoint end_of(const std::vector<FarRange>& needs) const;

 private:
  const std::vector<FarRange>& sequence_;
  std::map<const FarFile*, std::map<std::uint64_t, std::size_t>> begins_;  // the range that begins there
};

// Counts, for each byte, the jobs that need it.
class Needs {
 public:
  // Of the jobs that are not done.
  explicit Needs(const std::vector<std::vector<FarRange>>& jobs);

  // What of a range some job still needs, in order. Thread safe, as is finish().
  [[nodiscard]] std::vector<FarRange> within(const FarRange& range) const;
  // A job with these needs is done: what none needs any more.
  std::vector<FarRange> finish(const std::vector<FarRange>& job);

 private:
  struct Stretch {
    std::uint64_t begin, end, jobs;
  };
  mutable std::mutex mutex_;
  // By file, in order. Stretches end where a need begins or ends, so that each is needed as a whole.
  std::map<const FarFile*, std::vector<Stretch>> files_;
};

}  // namespace mu
