// SPDX-License-Identifier: Apache-2.0
// Merges LoRA adapters into a base model: tensors of the base are replaced with tensors that are computed
// from base and factors as they are read, in memory that does not grow with the model. Values equal those of
// PEFT's merge_and_unload to one unit in the last place of the type of the base at max(|W|, |dW|, |W + dW|):
// deltas are summed and added in fp32 and rounded once. Source: PEFT 0.21.2, tuners/lora/layer.py and
// variants.py.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "model/tied.h"

namespace mu {

struct AdapterUse {
  std::shared_ptr<const Adapter> adapter;
  double scale = 1;  // multiplies the adapter's own scale
};

struct MergeResult {
  std::uint64_t merged = 0;    // tensors that get a delta
  std::uint64_t replaced = 0;  // tensors and embeddings that are replaced, whole or by rows
  std::vector<TiedName> tied;  // of the pairs that were tied, those that still hold the same bytes
  bool unties = false;         // tied embeddings now differ; the config must say so
  std::vector<std::string> notes;
};

// Adapters are applied in the order given. `tied` are the pairs of find_tied(base). Throws kMalformed if the
// base lacks the tensor of a module or has it in another shape, for quantised weights and, while tensors are
// read, for factors that are not finite. Here only the descriptions of the tensors of `base` are read.
MergeResult merge_adapters(Input& base, const std::vector<AdapterUse>& uses,
                           const std::vector<TiedName>& tied);

}  // namespace mu
