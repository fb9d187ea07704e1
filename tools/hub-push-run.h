// SPDX-License-Identifier: Apache-2.0
// hub-push and the folders of training runs: what the room of checkpoints knows, for a push.
#pragma once

#include <string>

#include "hub/files.h"

namespace mu {

// Throws kRefused for the folder of a run without a model of its own: only logs and a card would be pushed, and one of
// its checkpoints is meant.
void refuse_run_folder(const std::string& local, const FileChoice& choice);

// The newest complete checkpoint of a run; empty where there is none yet.
std::string newest_checkpoint(const std::string& run);

}  // namespace mu
