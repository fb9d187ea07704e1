// SPDX-License-Identifier: Apache-2.0
// Slimming: the entries of a checkpoint that only resuming needs are moved into a hidden folder, which is
// deleted later, and the folder's time is put back: the Trainer deletes the oldest by mtime, and slimming
// would make this one the newest. A journal in the hidden folder, on the disk before anything moves, says
// which checkpoint it was, its time, and which entries were judged; by it the next run finishes what a kill
// cut short, and gives back what came under one of their names.
#pragma once

#include <string>

#include "ckpt/facts.h"

namespace mu {

// The journal's name; it goes with the hidden folder.
inline constexpr const char* kSlimJournal = ".folder-mtime";

// Moves `facts.training_entries` out of a checkpoint of an open run folder. Returns the hidden folder's name.
// Throws kTemporary where the checkpoint is not the one that was judged, kPartial where we may not, kIo; it
// is then as it was, or what could not be moved back is named.
std::string slim_checkpoint(int run, const CheckpointFacts& facts, const std::string& path);

// What finishing a hidden folder of a killed run came to.
struct FinishedSlimming {
  bool is_journaled = false;  // it belongs to a slimming; else nothing was done
  bool was_cut = false;       // the checkpoint was slimmed to the end
};
// Throws kPartial where the hidden folder holds what was not judged and can't be given back.
FinishedSlimming finish_slimming(int run, const std::string& run_path, const Leftover& leftover);

}  // namespace mu
