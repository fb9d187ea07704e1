// SPDX-License-Identifier: Apache-2.0
// Nodes with disks of their own hold files of their ranks alone; which steps are worth keeping is decided
// where the model lies.
#pragma once

#include <string>

#include "ckpt/policy.h"
#include "ckpt/runs.h"

namespace mu {

// The steps that another run folder holds, be they whole or still being written. Throws kIo where it can't be
// looked at or holds no whole checkpoint: then it may not be the folder that was meant.
Followed follow_run(const std::string& path, const CheckpointNames& names, unsigned threads);

}  // namespace mu
