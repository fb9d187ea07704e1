// SPDX-License-Identifier: Apache-2.0
// Decides which files of a folder go into a publishable model folder, each with its reason. Reads the
// folder's configs and Python files, never its weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/input.h"

namespace mu {

// One file of the input folder other than the packed weights.
struct GatheredFile {
  std::string name;  // relative to the folder; the same in the output
  std::uint64_t size = 0;
  bool taken = false;
  FileRole role = FileRole::kOther;
  std::string reason;
};

// Lists every entry of the folder except the chosen weights, sorted by name. Python files are taken if an
// auto_map names them or a taken one imports them. With weights_only nothing is taken. `notes` reports what a
// link brings in from outside the folder. Throws kRefused if such a file holds a secret: it would become a
// plain file under a harmless name.
std::vector<GatheredFile> gather_files(const Input& input, bool weights_only,
                                       std::vector<std::string>& notes);

}  // namespace mu
