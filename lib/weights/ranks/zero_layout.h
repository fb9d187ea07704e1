// SPDX-License-Identifier: Apache-2.0
// Where ZeRO puts the values of each parameter: pure arithmetic on runs of elements, as
// deepspeed/utils/zero_to_fp32.py and the stages' own partitioning have it. Nothing is read here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace mu {

// A run of elements in one file.
struct FlatRun {
  Dtype dtype;
  std::uint32_t source;  // which file of the set
  std::uint64_t offset;  // byte of the first
  std::uint64_t count;   // elements

  bool operator==(const FlatRun&) const = default;
};

struct FlatShape {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::uint64_t count;  // elements
};

std::uint64_t count_of(std::span<const FlatRun> runs);

// Elements [from, from + count) of runs put end to end; fewer when the runs end before.
std::vector<FlatRun> stretch_of(std::span<const FlatRun> runs, std::uint64_t from, std::uint64_t count);

// Elements that each of `ranks` holds of a parameter in stage 3: ceil(count / ranks).
std::uint64_t partition_size(std::uint64_t count, std::uint64_t ranks);

// Stages 1 and 2: the parameters of a group, flattened and put end to end, are cut into one partition per rank;
// `gaps` elements follow the parameters (parameter_alignment; none: empty). Returns the runs of each
// parameter. Throws kMalformed (ZR-SIZE) when they don't fit; anything that the partitions hold beyond them
// is padding to a multiple of twice the ranks.
std::vector<std::vector<FlatRun>> place_stage12(std::span<const FlatShape> parameters,
                                                std::span<const FlatRun> partitions,
                                                std::span<const std::uint64_t> gaps, std::size_t group);

// Stage 3: every rank holds ceil(count / ranks) elements of every parameter, the last ones padded.
// `ranks[r]` are the runs of rank r, put end to end. Throws kMalformed: ZR-SIZE when ranks differ or
// parameters need more or fewer elements than there are, ZR-NVME when there are none.
std::vector<std::vector<FlatRun>> place_stage3(std::span<const FlatShape> parameters,
                                               std::span<const std::vector<FlatRun>> ranks,
                                               std::size_t group);

}  // namespace mu
