// SPDX-License-Identifier: Apache-2.0
// Bytes of far files that wait on the disk until what is computed from them can be: sparse files, each with the
// offsets of the file it stands for. While a Mirror lives, reads of these bytes are served from it (keep_far). What
// was used gives its blocks back to the disk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fetch/mark.h"
#include "fetch/needs.h"
#include "fetch/ranges.h"

namespace mu {

class Mirror {
 public:
  // Keeps its files in `folder`, which exists, named by the position of their file in `files`. One at a time.
  Mirror(std::string folder, const std::vector<const FarFile*>& files);
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;
  ~Mirror();  // ends the serving of reads; the files stay

  // Thread safe, all of them.
  void write(const FarFile& file, std::uint64_t offset, std::span<const std::byte> bytes);
  // Says that an earlier process wrote this range and synced it.
  void adopt(const FarRange& range);
  void sync();  // what was written since
  void release(const FarRange& range);
  [[nodiscard]] std::uint64_t bytes() const;  // that it holds now

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Keeps what of a block some job still needs.
void keep_needed(Mirror& mirror, const Needs& needs, const FarFile& file, std::uint64_t offset,
                 std::span<const std::byte> bytes);
// Adopts what an earlier run kept for jobs that it did not come to: all of the sequence before `mark`.
void adopt_needed(Mirror& mirror, const Needs& needs, const std::vector<FarRange>& sequence,
                  const FetchMark& mark);

}  // namespace mu
