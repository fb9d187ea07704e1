// SPDX-License-Identifier: Apache-2.0
// The plan of an adapter between two models: a pure function of their lists of tensors. Modules follow from
// names and shapes alone, so no table of architectures is needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/glob.h"
#include "model/input.h"

namespace mu {

enum class PairKind : std::uint8_t {
  kLinear,     // a matrix that gets factors
  kEmbedding,  // the same, read by rows: lora_embedding_*
  kFull,       // stored whole (modules_to_save)
  kBias,       // stored whole (bias: all)
  kOther,      // not in the adapter: its changes are lost
};

struct PairTensor {
  std::string name;    // in the tuned model, "model.layers.0.self_attn.q_proj.weight"
  std::string module;  // without ".weight" and the like; for one expert of a stack "….gate_up_proj[3]"
  PairKind kind = PairKind::kOther;
  const Tensor* base = nullptr;  // null: new in the tuned model
  const Tensor* tuned = nullptr;
  std::uint64_t first = 0, count = 0;   // range of elements in the tensors: all, or one expert's
  std::uint64_t rows = 0, columns = 0;  // of a matrix, as stored
  bool in_stack = false;                // one of the experts of a three-dimensional tensor
  bool is_router = false;               // of such experts: for PEFT not a linear layer, but a parameter
  bool transposed = false;              // stored [in, out]: Conv1D, embeddings
  bool extended = false;                // rows were added
};

inline bool is_matrix(const PairTensor& pair) {
  return pair.kind == PairKind::kLinear || pair.kind == PairKind::kEmbedding;
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
};

struct PairPlan {
  std::vector<PairTensor> tensors;  // in the order of the tuned model; each expert of a stack is an entry
  bool conv1d = false;
  std::string task_type;
  std::vector<std::string> notes;
};

// Throws kMalformed for tensors without a counterpart or of another shape (names the first five), for
// quantised weights, and for rows added to an embedding if --embeddings was not given.
PairPlan plan_pair(const Input& base, const Input& tuned, const PairOptions& options);

}  // namespace mu
