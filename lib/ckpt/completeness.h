// SPDX-License-Identifier: Apache-2.0
// Is a checkpoint complete, can training resume from it, and which of its entries serve nothing but resuming?
// The answers come from names, sizes and a few bytes at the ends of files; nothing is loaded.
//
// The Trainer saves in this order: model, optimizer, scheduler, scaler, random states, trainer state. It does
// not stage, sync or rename, so a crash can leave any prefix of that list, and a full disk or a power failure
// can also leave cut or empty files (transformers 5.23.0, trainer.py, _save_checkpoint).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ckpt/facts.h"
#include "ckpt/walk.h"

namespace mu {

struct JudgeOptions {
  bool is_trainer = true;  // a checkpoint-N of the Trainer; false: found by --pattern, of any framework
  bool deep = false;       // read everything
};

// Judges an open folder by its entries (`walk`). `facts` comes with its name and number; this fills in
// condition, why, epoch, has_optimizer, slim_block, training_entries, has_keep_file, shows_complete and the
// sizes. Returns false when the folder holds neither weights nor training state: then it is not a checkpoint,
// and the facts mean nothing. Throws kIo.
bool judge_folder(int folder, const std::string& path, const Walk& walk, const JudgeOptions& options,
                  CheckpointFacts& facts);

// The same for a checkpoint that is one file.
bool judge_file(int run, const std::string& path, const WalkedEntry& entry, const JudgeOptions& options,
                CheckpointFacts& facts);

// "x.tmp", "x-unfinished": names that writers give to what is not finished yet.
bool is_unfinished_name(std::string_view name);

// Names of the entries that only resuming needs, as judge_folder() finds them.
std::vector<std::string> training_names(int folder, const std::string& path);

}  // namespace mu
