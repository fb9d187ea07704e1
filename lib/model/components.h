// SPDX-License-Identifier: Apache-2.0
// Models that consist of several: modules.json of sentence-transformers, the configs of its routers, and
// model_index.json of diffusers name folders below the model's own, each with weights, a config or a
// tokenizer of its own.
//
// Sources: sentence-transformers 6.2 (base/model.py, base/modules/router.py), diffusers 0.42
// (pipelines/pipeline_utils.py, models/controlnets/multicontrolnet.py).
#pragma once

#include <string>
#include <vector>

#include "model/folder.h"

namespace mu {

// A folder that is named as a part of the model.
struct ComponentName {
  std::string path;  // below the model's folder
  std::string type;  // the class that loads it, with its module: "sentence_transformers.models.Dense"
  std::string file;  // the file that names it
};

struct ComponentNames {
  std::string file{};                  // modules.json or model_index.json; empty where there is neither
  std::vector<ComponentName> folders;  // each path once, in the order of the files
  bool has_top = true;                 // the folder itself holds a model, too …
  std::string top_type{};              // … and its class, where that is named
  std::vector<std::string> code{};     // Python files of the folder itself that classes are in
};

// Reads the files that name components. Throws kMalformed for one that can't be read and for a path that
// leads out of the folder.
ComponentNames read_component_names(const Folder& folder);

// True for a class that is loaded without a file: the folder of a module that only normalises may be empty, and
// a repository holds no empty folder.
bool may_be_absent(const ComponentName& component);

// "module.py" for the class "module.Class", which comes with the model; empty for one of an installed package.
std::string module_file(std::string_view type);

// How weights of a component are called when they are written again, without number and ending: the name that
// diffusers gives them and the variant stay.
std::string component_stem(const WeightsChoice& choice);

}  // namespace mu
