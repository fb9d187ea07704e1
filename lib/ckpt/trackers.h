// SPDX-License-Identifier: Apache-2.0
// Trackers: files and links by which trainers name their last finished checkpoint. A newer checkpoint may
// lack files, and no look at it alone shows that; the trainer writes its tracker when all ranks are done.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ckpt/facts.h"

namespace mu {

// Text files: "latest" (DeepSpeed), "latest_checkpointed_iteration.txt" (Megatron, verl),
// "latest_ckpt_global_step.txt" (SkyRL), "last_checkpoint" (detectron2, mmengine).
bool is_tracker_file(std::string_view name);

// A link with such a name is a tracker, and a checkpoint with such a name tracks itself (NeMo, Lightning,
// fairseq): "last.ckpt", "last-v1.ckpt", "latest", "…-last", "…_last.pt".
bool names_the_last(std::string_view name);

// What the text of a tracker means: a step in digits, the name of a checkpoint, or neither if it holds a
// slash: only the file system can tell where that leads.
Tracker parse_tracker(std::string name, std::string_view text);

// Reads the tracker `name` of an open run folder. A text that is unreadable or too long for a name names
// nothing. Nullopt if it is not a regular file.
std::optional<Tracker> read_tracker(int folder, const std::string& name);

}  // namespace mu
