// SPDX-License-Identifier: Apache-2.0
// Where the modules of an adapter are in a base: one rule for all of them, the first of these that finds all. Names
// as they stand; published ones; those of memory; those of the language model in a multimodal base, if the modules
// are there with fitting shapes and nowhere else; names that lack a first component, or have one more. If no rule
// finds all, the one that finds most, and for each module that it misses the tensors of the base that may be meant.
//
//   const AdapterInBase found = find_in_base(adapter, adapter.config, base);
//   found.names("model.norm.weight");  // what the base calls any tensor of the adapter's model
//   found.modules[i].tensors;          // what adapter.modules[i] changes in the base
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/input.h"
#include "model/lora_adapter.h"
#include "model/names_in_base.h"

namespace mu {

// A parameter that an adapter changes, as a base has it.
struct PlaceInBase {
  // In the adapter's model: "M.weight" for a module M, "….experts.gate_up_proj" for a stack of experts.
  std::string parameter;
  std::string name;  // the same in the base; of a stack that is kept apart "….experts.*.w1.weight"
  // The tensors of the base, which must outlive this; none: it lacks them. Of a stack that is kept apart, the first
  // part of each expert.
  std::vector<const Tensor*> tensors;
  // Of the parameter, what is kept apart put together; of a module of one expert whose base has a stack, the expert's.
  // Empty if only a loader knows it, as that of weights stored in few bits.
  std::vector<std::uint64_t> shape;
  bool fits = true;  // the factors can change a tensor of that shape
  // Of a parameter that is missing: up to three tensors that end alike and fit, the most similar first.
  std::vector<std::string> candidates;

  [[nodiscard]] bool is_missing() const { return tensors.empty(); }
};

struct AdapterInBase {
  NamesInBase names;
  // In the order of the adapter's lists of the same names.
  std::vector<PlaceInBase> modules, rows, replaced, layers;
  // Several places in the base fit the text model that was trained; none was chosen.
  bool is_ambiguous = false;
};

// Reads no tensors. Modules that are not targets don't count when a rule is chosen.
AdapterInBase find_in_base(const AdapterContent& adapter, const LoraConfig& config, const Input& base);

}  // namespace mu
