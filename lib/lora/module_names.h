// SPDX-License-Identifier: Apache-2.0
// What a base calls the modules of an adapter. Adapters name modules as the model class does that was trained;
// names in the files of a base may lack the first component, or have one more.
#pragma once

#include <set>
#include <string>

#include "lora/adapter.h"
#include "lora/merge_base.h"

namespace mu {

class ModuleNames {
 public:
  // The names as they are.
  ModuleNames() = default;
  // Finds the one rule by which the base has all modules of the adapter; the names as they are if none does.
  ModuleNames(MergeBase& base, const Adapter& adapter);

  // A module or tensor of the adapter, as the base calls it. What is not below a module of the base model, such
  // as a head, keeps its name.
  [[nodiscard]] std::string operator()(const std::string& name) const;

 private:
  [[nodiscard]] bool fits(MergeBase& base, const Adapter& adapter) const;

  std::string strip_, prefix_;           // "transformer." that goes, "model." that comes
  std::set<std::string> prefixed_tops_;  // first components of the names that get the prefix
};

}  // namespace mu
