// SPDX-License-Identifier: Apache-2.0
// All tensors of a model under the names of the other side: those that transformers (5.23) publishes for what it has
// in memory, or the other way round. Names change, and with them some values change their place: experts are split or
// stacked, projections joined or cut. Nothing is read: a tensor is a view of those it is made of (weights/views.h).
// Which side a model is on comes first (TensorNames::side_of); renaming twice damages names.
//
//   const Renaming renaming = to_published(input.weights.tensors, *names, *input.config);
#pragma once

#include <cstddef>
#include <vector>

#include "model/config.h"
#include "model/tensor_names.h"
#include "tensor/tensor.h"

namespace mu {

struct Renaming {
  struct Item {
    Tensor tensor;
    // The numbers, in the list that was given, of the tensors that it is made of: one at least. Those of a stack of
    // experts come pattern by pattern, all gates before all ups.
    std::vector<std::size_t> from;
    // It should be made of its tensor in a way that is not known here: name and values are still the given ones.
    bool is_opaque = false;
    // Items with the same number share memory in transformers: they are views of one tensor, or of one copy of it.
    // huggingface_hub does not divide them among shards.
    std::size_t block = 0;
  };
  std::vector<Item> items;
  std::size_t changed = 0;  // how many of the given tensors have another name now, or became parts of others
};

// Both expect the names of the other side, without wrappers' prefixes, without tied copies and after dequantising.
// They throw kMalformed, naming the tensor, for what does not fit, and for two that would get one name.

// In the order in which save_pretrained writes.
Renaming to_published(const std::vector<Tensor>& tensors, const TensorNames& names,
                      const ModelConfig& config);

// In the order of the tensors that were given, a stack where the first of its parts was.
Renaming to_memory(const std::vector<Tensor>& tensors, const TensorNames& names, const ModelConfig& config);

}  // namespace mu
