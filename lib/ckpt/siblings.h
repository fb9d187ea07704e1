// SPDX-License-Identifier: Apache-2.0
// What a checkpoint is, seen beside the others of its run. Pure functions of what was found in each.
#pragma once

#include <string>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

// An entry that a pattern fits, looked at.
struct LookedAtEntry {
  CheckpointFacts facts;
  bool is_recognised = true;  // holds weights or training state
};

// Takes over what is a checkpoint, oldest first, and names the rest. By number; an entry without one beside
// others that have one is left alone, since nothing tells where it belongs. Only where no name holds a number
// the order is by time. Then what one alone can't tell: that a save of ranks is cut, or lacks an optimizer.
void take_checkpoints(std::vector<LookedAtEntry> entries, RunFacts& run);

}  // namespace mu
