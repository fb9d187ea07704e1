// SPDX-License-Identifier: Apache-2.0
// What a base calls the tensors of an adapter. Adapters name modules as the model class does that was trained;
// the files of a base have published names, and may lack the first component or have one more.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lora/merge_base.h"
#include "model/lora_adapter.h"
#include "model/tensor_names.h"

namespace mu {

class ModuleNames {
 public:
  // The names as they are.
  ModuleNames() = default;
  // Finds the one rule by which the base has all modules of the adapter; if none does, that by which it has most.
  ModuleNames(MergeBase& base, const Adapter& adapter);

  // A tensor of the adapter's model ("M.weight", "M.gate_up_proj"), as the base calls it. What is not below a
  // module of the base model, such as a head, keeps its name.
  [[nodiscard]] std::string operator()(const std::string& tensor) const;

 private:
  [[nodiscard]] bool fits(MergeBase& base, const std::vector<std::string>& tensors) const;
  bool strip_first(MergeBase& base, const std::vector<std::string>& tensors);
  bool add_first(MergeBase& base, const std::vector<std::string>& tensors);

  std::optional<NamesInBase> names_;     // by the tables of Transformers
  std::string strip_, prefix_;           // "transformer." that goes, "model." that comes
  std::set<std::string> prefixed_tops_;  // first components of the names that get the prefix
};

}  // namespace mu
