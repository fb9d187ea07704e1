// SPDX-License-Identifier: Apache-2.0
// Which bytes of other machines the pairs of a plan need, and in which order they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fetch/needs.h"
#include "lora/pair_plan.h"
#include "model/input.h"

namespace mu {

struct PairFetch {
  struct Job {
    std::size_t unit = 0;           // of the plan
    std::vector<FarRange> needs{};  // none: all of it is on this machine
    SequencePoint end{};            // of the last of them
  };
  std::vector<FarRange> sequence;  // what is read, in order; none: all is on this machine
  std::vector<Job> jobs;           // all units, by their end
  std::uint64_t bytes = 0;         // that are read, gaps included
  std::uint64_t files = 0;         // that they are read from
};

// In the order of the files of the base, or of the tuned model if that alone lies elsewhere. Pure: nothing is read.
PairFetch plan_pair_fetch(const Input& base, const Input& tuned, const PairPlan& plan,
                          const std::vector<std::size_t>& units);

// What another run must agree in to go on with the same partial output; `plan_fingerprint` is that of pair_part.h.
std::string pair_fetch_identity(const PairFetch& fetch, const std::string& plan_fingerprint);

}  // namespace mu
