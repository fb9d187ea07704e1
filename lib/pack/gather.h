// SPDX-License-Identifier: Apache-2.0
// What of a folder goes into a publishable model folder, file by file, each with its reason. Reads the
// folder's configs and Python files, never its weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/input.h"

namespace mu {

// One file of the input folder, beside the weights that are packed.
struct GatheredFile {
  std::string name;  // relative to the folder; keeps its name in the output
  std::uint64_t size = 0;
  bool taken = false;
  FileRole role = FileRole::kOther;
  std::string reason;
};

// Every entry of the folder but the chosen weights, sorted by name. Python files are taken when an auto_map
// names them or a taken one imports them. With weights_only nothing is taken.
// What is copied from outside the folder, through a link, is said in `notes`. Throws kRefused where that
// holds a secret, which would become a plain file under a harmless name.
std::vector<GatheredFile> gather_files(const Input& input, bool weights_only,
                                       std::vector<std::string>& notes);

}  // namespace mu
