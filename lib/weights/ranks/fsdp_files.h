// SPDX-License-Identifier: Apache-2.0
// Which files of a folder are the ranks' pickles of one FSDP run: model_world_size_8_rank_3.pt (verl, SkyRL and
// forks) and pytorch_model_fsdp_0_rank3.bin (accelerate without torch's distributed checkpoints).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// True for a folder that holds such files, whole or not.
bool is_fsdp_folder(const std::string& folder);

struct FsdpFiles {
  std::vector<std::string> model;  // names, by rank: those of ranks 0 to N - 1
  bool are_counted = false;        // N stands in the names, or in fsdp_config.json
  // Files beside them that tell the step, of whatever ranks there are, in the order of their names.
  std::vector<std::string> extra_states, optimizers;
};

// Throws kMalformed: [FS-COUNT] when ranks are missing, when there are files of two runs, and when
// fsdp_config.json speaks of another number; [DC-FLAT] for flat parameters.
FsdpFiles list_fsdp_files(const std::string& folder);

}  // namespace mu
