// SPDX-License-Identifier: Apache-2.0
// How the tensors of a plan come from files on other machines: which bytes are read, in which order, and what each is
// for. Pure: nothing is read. Bytes that are only copied or cast go from the network to their place in the output.
// What is computed from several places waits in a mirror (fetch/mirror.h) until all of it is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fetch/needs.h"
#include "fetch/ranges.h"
#include "pack/plan.h"

namespace mu {

// A run of bytes that is copied, or cast, to a place in a tensor of the output.
struct FarCopy {
  std::size_t range = 0;  // of the sequence, which holds all of `from`
  FarRange from;
  std::size_t file = 0, tensor = 0;  // of PackPlan::weights, of its tensors
  std::uint64_t at = 0;              // byte of the tensor as it is read: before a cast
};

// A tensor of the output that is made by TensorWriter as of local files, once its needs are in the mirror. One without
// needs is made of local files alone.
struct FarJob {
  std::size_t file = 0, tensor = 0;
  std::vector<FarRange> needs{};
  SequencePoint end{};  // of the last of them
};

struct FarPlan {
  std::vector<FarRange> sequence;  // what is read, in order
  std::vector<FarCopy> copies;     // by range and offset
  std::vector<FarJob> jobs;        // by their end
  std::uint64_t bytes = 0;         // that are read, gaps included
  std::uint64_t files = 0;         // that they are read from
  std::uint64_t of = 0;            // bytes of all far files that hold tensors
};

// Throws kMalformed for compressed bytes of a far file, which have no ranges. Of a plan for standard output there is
// the sequence alone, in the order of the output.
FarPlan plan_far(const PackPlan& plan);

// Whether anything of it is read from another machine.
bool is_far(const PackPlan& plan);

}  // namespace mu
