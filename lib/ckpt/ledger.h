// SPDX-License-Identifier: Apache-2.0
// Space, with every file counted once however many names it has: what all checkpoints take together, what
// removing one of them saves, and what that returns to the file system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

class Ledger {
 public:
  explicit Ledger(const std::vector<RunFacts>& runs);

  // Bytes of all remaining checkpoints.
  [[nodiscard]] std::uint64_t used() const { return used_; }
  // Bytes that a file system gets back: removing a file that has names elsewhere returns nothing.
  [[nodiscard]] std::uint64_t freed(dev_t device) const;

  // Strikes a checkpoint, or what slimming takes out of it, and returns the bytes that `used` fell by.
  // Removing a checkpoint after slimming it is fine.
  std::uint64_t remove(std::size_t run, std::size_t checkpoint) { return strike(run, checkpoint, false); }
  std::uint64_t slim(std::size_t run, std::size_t checkpoint) { return strike(run, checkpoint, true); }

  // Bytes of one run's checkpoints alone.
  static std::uint64_t used_by(const RunFacts& run);

 private:
  struct Shared {
    std::uint64_t bytes = 0, links = 0;  // names it has anywhere
    std::uint64_t left = 0, struck = 0;  // names in checkpoints
  };
  std::uint64_t strike(std::size_t run, std::size_t index, bool only_training);

  const std::vector<RunFacts>& runs_;
  std::map<FileId, Shared> shared_;
  std::map<std::pair<std::size_t, std::size_t>, bool> slimmed_;
  std::map<dev_t, std::uint64_t> freed_;
  std::uint64_t used_ = 0;
};

}  // namespace mu
