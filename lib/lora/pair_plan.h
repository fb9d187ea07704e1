// SPDX-License-Identifier: Apache-2.0
// What an adapter between two models will hold: a pure function of their lists of tensors. Modules follow
// from names and shapes alone, so that no table of architectures is needed.
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
  kEmbedding,  // the same, looked up by rows: lora_embedding_*
  kFull,       // goes along whole (modules_to_save)
  kBias,       // goes along whole (bias: all)
  kOther,      // is no part of the adapter: what changed in it is lost
};

struct PairTensor {
  std::string name;    // of the tuned model, "model.layers.0.self_attn.q_proj.weight"
  std::string module;  // without ".weight" and the like; of one expert in a stack, "….gate_up_proj[3]"
  PairKind kind = PairKind::kOther;
  const Tensor* base = nullptr;  // null: new in the tuned model
  const Tensor* tuned = nullptr;
  std::uint64_t first = 0, count = 0;   // elements of the tensors that this is about: all, or one expert's
  std::uint64_t rows = 0, columns = 0;  // of a matrix, as stored
  bool in_stack = false;                // one of the experts of a three-dimensional tensor
  bool is_router = false;               // of such experts: no linear layer to PEFT, but a parameter
  bool transposed = false;              // stored [in, out]: Conv1D, embeddings
  bool extended = false;                // rows were added
};

inline bool is_matrix(const PairTensor& pair) {
  return pair.kind == PairKind::kLinear || pair.kind == PairKind::kEmbedding;
}

// Of a matrix, as a layer sees it.
inline std::uint64_t in_features(const PairTensor& pair) {
  return pair.transposed ? pair.rows : pair.columns;
}
inline std::uint64_t out_features(const PairTensor& pair) {
  return pair.transposed ? pair.columns : pair.rows;
}

// Bytes of it on one side, its `base` or `tuned`; none where it has no such side.
inline std::uint64_t size_of(const PairTensor& pair, const Tensor* side) {
  return side == nullptr ? 0 : pair.count * bits(side->dtype) / 8;
}

struct PairOptions {
  enum class Embeddings : std::uint8_t { kUnsaid, kSkip, kLora, kFull } embeddings = Embeddings::kUnsaid;
  std::vector<Glob> targets, excludes;  // of module paths; no target means all
  std::vector<Glob> full_modules;       // go along whole where they changed
  bool biases = false;
};

struct PairPlan {
  std::vector<PairTensor> tensors;  // in the order of the tuned model; experts of a stack one by one
  bool conv1d = false;
  std::string task_type;
  std::vector<std::string> notes;
};

// Throws kMalformed: tensors without a counterpart or of another shape (the first five are named), quantised
// weights, rows added to an embedding when nothing was said of embeddings.
PairPlan plan_pair(const Input& base, const Input& tuned, const PairOptions& options);

}  // namespace mu
