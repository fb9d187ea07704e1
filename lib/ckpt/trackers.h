// SPDX-License-Identifier: Apache-2.0
// Files and links by which trainers say which checkpoint is the last that they finished. Newer ones may lack
// files that nobody can miss by looking: the trainer writes its tracker when all ranks are done.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ckpt/facts.h"

namespace mu {

// A text file of such a name: "latest" (DeepSpeed), "latest_checkpointed_iteration.txt" (Megatron, verl),
// "latest_ckpt_global_step.txt" (SkyRL), "last_checkpoint" (detectron2, mmengine).
bool is_tracker_file(std::string_view name);

// "last.ckpt", "last-v1.ckpt", "latest", "…-last", "…_last.pt": a link of such a name is a tracker, and so is
// a checkpoint, of itself (NeMo, Lightning, fairseq).
bool names_the_last(std::string_view name);

// What the text of such a file means: a step in digits, the name of a checkpoint, or, where it holds a slash,
// neither: only the file system can tell where that leads.
Tracker parse_tracker(std::string name, std::string_view text);

// The file `name` of an open run folder; a text that is unreadable or too long for a name means nothing.
// Nothing where it is not a regular file.
std::optional<Tracker> read_tracker(int folder, const std::string& name);

}  // namespace mu
