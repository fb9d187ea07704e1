// SPDX-License-Identifier: Apache-2.0
// Is a checkpoint whole, can training go on from it, and what of it is needed for nothing but that? Judged by
// names, sizes and a few bytes at the ends of files; nothing is loaded.
//
// The order in which the Trainer saves is model, optimizer, scheduler, scaler, random states, trainer state;
// nothing is staged, synced or renamed, so a crash leaves any prefix of that, and a full disk or power
// failure cut or empty files besides (transformers/trainer.py, _save_checkpoint).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ckpt/facts.h"
#include "ckpt/walk.h"

namespace mu {

struct JudgeOptions {
  bool is_trainer = true;  // a checkpoint-N of the Trainer; else one found by pattern, of any framework
  bool deep = false;       // read everything
};

// Fills condition, why, epoch, has_optimizer, slim_block, training_entries, has_keep_file, what it shows and
// the sizes of `facts`, whose name and number are set, from an open folder and its entries. False when
// neither weights nor training state lie in it: then it is not a checkpoint, and the facts mean nothing.
// Throws kIo.
bool judge_folder(int folder, const std::string& path, const Walk& walk, const JudgeOptions& options,
                  CheckpointFacts& facts);

// The same for a checkpoint that is one file.
bool judge_file(int run, const std::string& path, const WalkedEntry& entry, const JudgeOptions& options,
                CheckpointFacts& facts);

// "x.tmp", "x-unfinished": so writers call what they have not done with.
bool is_unfinished_name(std::string_view name);

// Names of the entries of a checkpoint that only resuming needs, as the two above find them.
std::vector<std::string> training_names(int folder, const std::string& path);

}  // namespace mu
