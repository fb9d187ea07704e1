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
  bool is_weights = false;  // or a folder that holds some
  std::string path{};       // where it is read
};

// What gather_files has to know beside the folder.
struct GatherScope {
  bool weights_only = false;
  // Folders that are planned on their own, relative to the folder, and the file that names them.
  std::vector<std::string> apart{};
  std::string named_by{};
  bool is_component = false;
};

// Lists every entry of the folder except the chosen weights and the folders of components, sorted by name. Of
// the folder of a component, other JSON files are taken, too: modules have configs of many names. Python files
// are taken if a config names them or a taken one imports them. With weights_only nothing is taken. `notes`
// reports what a link brings in from outside the folder. Throws kRefused if such a file holds a secret: it would
// become a plain file under a harmless name.
std::vector<GatheredFile> gather_files(const Input& input, const GatherScope& scope,
                                       std::vector<std::string>& notes);

// True for a file below a folder of the output that st-pack may have written: `name` without folders.
bool is_ours_in_subfolder(std::string_view name);

}  // namespace mu
