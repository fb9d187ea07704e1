// SPDX-License-Identifier: Apache-2.0
// The plan of an adapter between two models: a pure function of their lists of tensors. Which layers are linear
// follows from names and shapes alone; what the modules of a class are called, from the table of names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/glob.h"
#include "lora/parameters.h"
#include "model/input.h"
#include "model/tied.h"

namespace mu {

enum class PairKind : std::uint8_t {
  kLinear,     // a matrix that gets factors
  kEmbedding,  // the same, read by rows: lora_embedding_*
  kFull,       // stored whole (modules_to_save)
  kBias,       // stored whole (bias: all)
  kOther,      // not in the adapter: its changes are lost
};

struct PairTensor {
  std::string name;       // in the tuned model, "model.layers.0.self_attn.q_proj.weight"
  std::string parameter;  // the same in memory, which PEFT knows; mostly equal to `name`
  std::string module;     // without ".weight" and the like; for one expert of a stack "….gate_up_proj[3]"
  PairKind kind = PairKind::kOther;
  // The first of the tensors that it is made of in each model, and how many these are there.
  const Tensor* base = nullptr;  // null: new in the tuned model
  const Tensor* tuned = nullptr;
  std::size_t tuned_tensors = 1;
  Tensor base_values, tuned_values;     // views of them
  std::uint64_t first = 0, count = 0;   // range of elements in the parameter: all, or one expert's
  std::uint64_t rows = 0, columns = 0;  // of a matrix, as stored
  bool in_stack = false;                // one of the experts of a three-dimensional parameter
  bool by_parameter = false;            // a matrix that PEFT finds as a parameter, not as a linear layer
  bool transposed = false;              // stored [in, out]: Conv1D, embeddings
  bool extended = false;                // rows were added
};

inline bool is_matrix(const PairTensor& pair) {
  return pair.kind == PairKind::kLinear || pair.kind == PairKind::kEmbedding;
}

// True if it is one tensor of the tuned model, whole.
inline bool is_one_tensor(const PairTensor& pair) {
  return pair.tuned_tensors == 1 && pair.count == pair.tuned->element_count();
}

// The features of a matrix as its layer sees them.
inline std::uint64_t in_features(const PairTensor& pair) {
  return pair.transposed ? pair.rows : pair.columns;
}
inline std::uint64_t out_features(const PairTensor& pair) {
  return pair.transposed ? pair.columns : pair.rows;
}

// Its bytes in one model, given as its `base` or `tuned`; 0 if that model lacks it.
inline std::uint64_t size_of(const PairTensor& pair, const Tensor* side) {
  return side == nullptr ? 0 : pair.count * bits(side->dtype) / 8;
}

struct PairOptions {
  enum class Embeddings : std::uint8_t { kUnsaid, kSkip, kLora, kFull } embeddings = Embeddings::kUnsaid;
  std::vector<Glob> targets, excludes;  // of module paths; without targets all
  std::vector<Glob> full_modules;       // stored whole if they changed
  bool biases = false;
  std::vector<TiedName> base_ties{}, tuned_ties{};  // names that repeat another tensor of their side
};

struct PairPlan {
  std::vector<PairTensor> tensors;  // in the order of the tuned model; each expert of a stack is an entry
  bool conv1d = false;
  std::string task_type;
  std::vector<std::string> notes;
  SeenNamesOfPair seen;
  std::shared_ptr<const TensorNames> names;  // of the tuned model's class; null if it renames nothing
};

// Tensors that one model has alone are left out and noted if the options exclude them or both are the same model
// all the same (lora/leftover.h). Throws kMalformed for other tensors without a counterpart or of another shape
// (names the first five), for weights that are quantised and were not made plain, and for rows added to an embedding if
// --embeddings was not given.
PairPlan plan_pair(const Input& base, const Input& tuned, const PairOptions& options);

}  // namespace mu
