// SPDX-License-Identifier: Apache-2.0
// A set of bytes of a file, as runs: pure arithmetic.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace mu {

struct ByteRun {
  std::uint64_t begin = 0, end = 0;
  bool operator==(const ByteRun&) const = default;
};

class ByteSet {
 public:
  void add(ByteRun run);
  void remove(ByteRun run);
  [[nodiscard]] bool has(ByteRun run) const;                         // all of it
  [[nodiscard]] bool misses(ByteRun run) const;                      // all of it
  [[nodiscard]] std::vector<ByteRun> missing_of(ByteRun run) const;  // in order
  // `run` made longer on both sides until the next bytes of the set.
  [[nodiscard]] ByteRun widened(ByteRun run) const;
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  std::map<std::uint64_t, std::uint64_t> runs_;  // end by begin; never empty, never touching
  std::uint64_t bytes_ = 0;
};

}  // namespace mu
