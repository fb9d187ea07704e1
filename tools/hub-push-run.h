// SPDX-License-Identifier: Apache-2.0
// Folders of training runs, for hub-push: what lib/ckpt knows about them.
#pragma once

#include <string>

#include "hub/files.h"

namespace mu {

// Throws kRefused for the folder of a run without a model of its own: it would push only logs and a card,
// but one of its checkpoints is meant.
void refuse_run_folder(const std::string& local, const FileChoice& choice);

}  // namespace mu
