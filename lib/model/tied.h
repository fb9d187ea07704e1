// SPDX-License-Identifier: Apache-2.0
// Tied embeddings: names under which models that share their input and output embedding know one tensor. The
// reference keeps the input embedding and drops the other names when a config ties them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "weights/weights.h"

namespace mu {

struct TiedName {
  std::string dropped;        // "lm_head.weight"
  std::string kept;           // "model.embed_tokens.weight"
  bool same_storage = false;  // the input stores both as one
};

// Names for one and the same stored tensor (place, dtype, shape and strides agree), as torch files have them.
// Kept is what the reference keeps (safetensors.torch.save_model): the first name in bytewise order, but none
// that a config would tie to another of them.
std::vector<TiedName> shared_storage_names(const Weights& weights);

// The name that stands for `name` in a file that was saved with tied embeddings, or empty when none of
// `names` does.
std::string kept_name_of(std::string_view name, const TensorsByName& names);

// Pairs that both stand in `weights` with one dtype and shape, so that one is needless if their bytes are
// equal.
std::vector<TiedName> tied_candidates(const Weights& weights);

// True when two tensors have the same dtype, shape and bytes. Reads both.
bool equal_bytes(const Weights& weights, const Tensor& a, const Tensor& b);

}  // namespace mu
