// SPDX-License-Identifier: Apache-2.0
// Which checkpoints does a process of this machine write to right now? Asked of /proc, as far as it shows.
#pragma once

#include <string>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

struct Writer {
  std::string path;     // of the file that it has open for writing
  std::string process;  // its number
};

// Whoever has a file below one of these folders open for writing; real paths, an empty one names no folder.
std::vector<Writer> find_writers(const std::vector<std::string>& folders);

// Sets `writer` of the checkpoints that these files lie in. `real_paths`: of the runs.
void note_writers(const std::vector<Writer>& writers, const std::vector<std::string>& real_paths,
                  std::vector<RunFacts>& runs);

}  // namespace mu
