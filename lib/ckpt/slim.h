// SPDX-License-Identifier: Apache-2.0
// Slimming moves the entries of a checkpoint that only resuming needs into a hidden folder, which is deleted
// later, and restores the modification time of the checkpoint's folder: the Trainer deletes the oldest by
// mtime, and slimming would make this one the newest.
//
// A journal in the hidden folder, on the disk before anything moves, records which checkpoint it was, its
// time, and which entries were judged. With it the next run finishes what a kill cut short, and gives back
// any entry that came under one of the judged names later.
#pragma once

#include <string>

#include "ckpt/facts.h"

namespace mu {

// The journal's name; it is deleted with the hidden folder.
inline constexpr const char* kSlimJournal = ".folder-mtime";

// Moves `facts.training_entries` out of a checkpoint of an open run folder. Returns the name of the hidden
// folder. Throws kTemporary if the checkpoint is not the one that was judged, kPartial if we may not change
// it, or kIo; the checkpoint is then as it was, or the message names what could not be moved back.
std::string slim_checkpoint(int run, const CheckpointFacts& facts, const std::string& path);

// What finish_slimming() did.
struct FinishedSlimming {
  bool is_journaled = false;  // the hidden folder belongs to a slimming; otherwise nothing was done
  bool was_cut = false;       // the slimming had been cut short, and was completed
};
// Finishes the hidden folder that a killed run left. Throws kPartial if it holds something that was not
// judged and can't be given back.
FinishedSlimming finish_slimming(int run, const std::string& run_path, const Leftover& leftover);

}  // namespace mu
