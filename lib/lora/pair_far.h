// SPDX-License-Identifier: Apache-2.0
// Pairs of tensors that lie on other machines: they are read once, in the order of the files, over several
// connections, wait in a mirror until both of a pair are there, and what is found stays in a partial output.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "fetch/partial.h"
#include "lora/found.h"
#include "lora/pair_fetch.h"
#include "model/input.h"

namespace mu {

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
