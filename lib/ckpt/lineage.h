// SPDX-License-Identifier: Apache-2.0
// Which checkpoints of a folder belong to one run? Two of them do if the log of the lower step is the
// beginning of the other log. A run that was started again in the same folder contradicts the old log from
// its first entry on. File times never separate runs, since copying loses them.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "ckpt/facts.h"
#include "model/trainer_state.h"

namespace mu {

// One run: its longest log, which includes the logs of all its other checkpoints.
struct Lineage {
  std::size_t newest;  // the checkpoint that holds it
  TrainerState state;
};

// Reads the whole state of a checkpoint; nullopt if it can't be read, which is then recorded in the
// checkpoint's facts.
using ReadWholeState = std::function<std::optional<TrainerState>(CheckpointFacts&)>;

// Sets `lineage` of the complete checkpoints whose logs show it, and returns the runs, the one saved last
// first; a common ancestor belongs to the first run that it fits. If there are no logs, returns only the
// newest state. Usually reads one state for each run, and at most 64 MiB beyond the first.
std::vector<Lineage> find_lineages(std::vector<CheckpointFacts>& checkpoints, const ReadWholeState& read);

}  // namespace mu
