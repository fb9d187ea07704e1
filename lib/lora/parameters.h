// SPDX-License-Identifier: Apache-2.0
// The parameters of a model as PEFT finds them: those of the model class in memory, whatever its files call them
// and however they keep them (model/renaming.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/input.h"
#include "model/tensor_names.h"

namespace mu {

struct Parameter {
  std::string name;                    // in memory: "model.layers.0.mlp.experts.gate_up_proj"
  std::string file_name;               // its tensor's in the file; of a parameter made of several, `name`
  Tensor values;                       // a view of the tensors that it is made of
  std::vector<const Tensor*> made_of;  // one at least
  // Its class makes the values in a way that is not a matter of order: only comparing makes sense.
  bool is_opaque = false;
};

// Tensors of one model that were seen under other names than its files have.
struct SeenNames {
  std::uint64_t published = 0,
                older = 0;  // names of files, and those of older libraries (model/older_names.h)
};

struct SeenNamesOfPair {
  SeenNames base, tuned;
  [[nodiscard]] bool any() const { return base.published + base.older + tuned.published + tuned.older > 0; }
};

// The parameters of two models, in the order of their tensors. Names of files become memory's if both sides can be
// told apart, each by its own config (that of the other if it has none); else all names stay as they are. Throws
// kMalformed, naming it, when a part of a stack is missing.
struct ParametersOfPair {
  std::vector<Parameter> base, tuned;
  SeenNamesOfPair seen;
  std::shared_ptr<const TensorNames> names;  // of the tuned model's class; null if it renames nothing
};
ParametersOfPair parameters_of(const Input& base, const Input& tuned);

}  // namespace mu
