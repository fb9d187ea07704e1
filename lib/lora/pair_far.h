// SPDX-License-Identifier: Apache-2.0
// Pairs of tensors that lie on other machines: they are read once, in the order of the files, over several
// connections, wait in a mirror until both of a pair are there, and what is found stays in a partial output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fetch/needs.h"
#include "fetch/partial.h"
#include "lora/pair.h"

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
// Whether it is known that the bytes of another run are those of this one.
bool has_versions(const PairFetch& fetch);

struct PairFetchRun {
  unsigned connections = 0;  // requests in flight; 0: as latency and bandwidth ask for
  std::function<void(std::uint64_t bytes)> on_read{};  // called with what came, from several threads
  std::function<void()> on_found{};  // one more is in `found`; may throw; one call at a time
};

// Puts what factorise() would find for the units of `fetch` into `found`, which has an entry for each tensor of the
// plan, and goes on where an earlier run ended. What it finds is read from the partial output. Throws as factorise() and
// fetch() do.
void factorise_far(const Input& base, const Input& tuned, const PairPlan& plan, const PairFetch& fetch,
                   const PairRunOptions& options, const PairFetchRun& run, PartialOutput& partial,
                   std::vector<FoundTensor>& found);

}  // namespace mu
