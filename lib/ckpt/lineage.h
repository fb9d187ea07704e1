// SPDX-License-Identifier: Apache-2.0
// Which checkpoints of a folder are of one run? Two are when the log of the lower step is the beginning of
// the other's. A run that was begun again in the same folder contradicts the old one's log from its first
// entry on; file times, which copying loses, never separate.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "ckpt/facts.h"
#include "model/trainer_state.h"

namespace mu {

// One run: its longest log, which holds those of all its other checkpoints.
struct Lineage {
  std::size_t newest;  // the checkpoint that has it
  TrainerState state;
};

// The whole state of a checkpoint; nothing where it can't be read, which it then says of the checkpoint.
using ReadWholeState = std::function<std::optional<TrainerState>(CheckpointFacts&)>;

// Sets `lineage` of the complete checkpoints whose logs speak, and returns the runs, the one saved last
// first; a common ancestor belongs to the first that it fits. Where no log speaks, the newest state alone
// comes back. Reads one state a run, as a rule, and no more than 64 MiB beyond the first.
std::vector<Lineage> find_lineages(std::vector<CheckpointFacts>& checkpoints, const ReadWholeState& read);

}  // namespace mu
