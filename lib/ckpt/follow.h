// SPDX-License-Identifier: Apache-2.0
// A node with its own disk holds only the files of its ranks. Which steps are worth keeping is decided where
// the model is; this reads that decision.
#pragma once

#include <string>

#include "ckpt/policy.h"
#include "ckpt/runs.h"

namespace mu {

// The steps that another run folder holds, complete or still being written. Throws kIo if it can't be read or
// holds no complete checkpoint: then it may not be the folder that was meant.
Followed follow_run(const std::string& path, const CheckpointNames& names, unsigned threads);

}  // namespace mu
