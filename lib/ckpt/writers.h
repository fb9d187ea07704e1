// SPDX-License-Identifier: Apache-2.0
// Which checkpoints does a process of this machine write to right now? Asked of /proc, as far as it shows.
#pragma once

#include <string>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

// Sets `writer` of the checkpoints in which a process has a file open for writing. `real_paths`: of the runs.
void note_writers(std::vector<RunFacts>& runs, const std::vector<std::string>& real_paths);

}  // namespace mu
