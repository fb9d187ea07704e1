// SPDX-License-Identifier: Apache-2.0
// Which mapping in a pickle of torch is the state dict of the model.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "weights/pickle/pickle.h"

namespace mu {

struct StateDictChoice {
  PickleId id = kNoNode;            // kNoNode: there is none, or several and none was asked for
  std::string key;                  // the keys that lead to it, joined by dots; empty for the root
  std::vector<std::string> others;  // keys of further state dicts, the first of them
};

// Looks at the root, then below the names that trainers give to the model, then anywhere; what is found there
// counts if it is the only one. The state of optimizers, schedulers and random generators is passed over.
// With `wanted` it looks below that key alone.
StateDictChoice choose_state_dict(const Pickle& pickle, std::string_view wanted);

}  // namespace mu
