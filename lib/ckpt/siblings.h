// SPDX-License-Identifier: Apache-2.0
// Judges a checkpoint beside the others of its run. Pure functions of what was found in each.
#pragma once

#include <string>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

// A judged entry whose name fits the pattern.
struct LookedAtEntry {
  CheckpointFacts facts;
  bool is_recognised = true;  // holds weights or training state
};

// Moves what is a checkpoint into the run, oldest first, and names the rest. The order is by number; an entry
// without a number beside others that have one is left alone, since nothing tells where it belongs. If no
// name holds a number the order is by time. Then finds what one checkpoint alone can't show: that the save of
// some ranks was cut off, or that an optimizer is lacking.
void take_checkpoints(std::vector<LookedAtEntry> entries, RunFacts& run);

}  // namespace mu
