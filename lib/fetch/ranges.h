// SPDX-License-Identifier: Apache-2.0
// Which bytes of far files (os/far.h) are wanted, and in which order: a list of ranges, pure arithmetic.
#pragma once

#include <cstdint>
#include <vector>

#include "os/far.h"

namespace mu {

struct FarRange {
  const FarFile* file = nullptr;       // mounted; lives as long as the process
  std::uint64_t offset = 0, size = 0;  // bytes

  bool operator==(const FarRange&) const = default;
};

constexpr std::uint64_t kFarGap = 128U
                                  << 10;  // bytes that are read in less time than a request of its own takes

// The ranges in the order of their files (that of the first range of each) and offsets, overlapping ones and
// neighbours up to kFarGap apart made one. Nothing between the ranges is wanted, so less than 200 kB is read for a
// range alone.
std::vector<FarRange> in_file_order(const std::vector<FarRange>& wanted);

// Joins neighbours of the list alone, and keeps its order, for work that needs pieces of several files at a time.
std::vector<FarRange> joined_in_order(const std::vector<FarRange>& wanted);

// A file of which almost all is wanted is read whole, so that its SHA-256 can be compared: what is left over, besides
// the first bytes that are here already (FarFile::start), is at most 1/64 of it and at most 8 MiB.
std::vector<FarRange> with_whole_files(std::vector<FarRange> ranges);

std::uint64_t bytes_of(const std::vector<FarRange>& ranges);
// Their files, each once, in the order of their first ranges.
std::vector<const FarFile*> files_of(const std::vector<FarRange>& ranges);
// Whether it is known that the bytes of another run are those of this one.
bool has_versions(const std::vector<FarRange>& ranges);

}  // namespace mu
