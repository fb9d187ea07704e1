// SPDX-License-Identifier: Apache-2.0
// How names are written into the config of an adapter, and what PEFT finds them by.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/tensor_names.h"

namespace mu {

// A name as a pattern of Python. Dots stay: nobody has two modules that differ there alone.
std::string escaped_for_python(std::string_view name);

// Names each parameter by what follows the number of its layer if all names of the model with that ending are among
// them, else in full. `all` are the names of the model.
std::vector<std::string> short_endings(const std::set<std::string>& parameters,
                                       const std::set<std::string>& all);

// The name under which PEFT finds the factors of a module. It renames what it reads as the class does with files, and
// some rules (Laguna's) change names that are right already: these are saved as files have them. `names` may be null.
std::string name_for_peft(const TensorNames* names, const std::string& module);

}  // namespace mu
