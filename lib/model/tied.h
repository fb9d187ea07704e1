// SPDX-License-Identifier: Apache-2.0
// Tied embeddings: some models use one tensor as input and output embedding, and know it by several names. The
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
// Kept is what the reference keeps (safetensors.torch.save_model): the first name in bytewise order, passing
// over names that a config would tie to another of them.
std::vector<TiedName> shared_storage_names(const Weights& weights);

// The name that stands for `name` in a file that was saved with tied embeddings, or empty when none of
// `names` does so.
std::string kept_name_of(std::string_view name, const TensorsByName& names);

// Pairs in `weights` that have the same dtype and shape, so that one of the two is needless if their bytes are
// equal.
std::vector<TiedName> tied_candidates(const Weights& weights);

// True when two tensors have the same dtype, shape and bytes. Reads both.
bool equal_bytes(const Weights& weights, const Tensor& a, const Tensor& b);

}  // namespace mu
