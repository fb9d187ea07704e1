// SPDX-License-Identifier: Apache-2.0
// Merges LoRA adapters into a base model: tensors of the base are exchanged for ones that are made from base
// and factors as they are read, in memory that does not grow with the model. Values equal those of PEFT's
// merge_and_unload to one unit in the last place of the base's type at max(|W|, |dW|, |W + dW|): deltas are
// summed and added in fp32 and rounded once. Source: PEFT 0.21, tuners/lora/layer.py and variants.py.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "model/tied.h"

namespace mu {

struct AdapterUse {
  std::shared_ptr<const Adapter> adapter;
  double scale = 1;  // on top of the adapter's own
};

struct MergeResult {
  std::uint64_t merged = 0;    // tensors that get a delta
  std::uint64_t replaced = 0;  // tensors and embeddings that are exchanged, whole or by rows
  std::vector<TiedName> tied;  // of the pairs that were tied, those that still hold the same bytes
  bool unties = false;         // tied embeddings differ from now on; the config must say so
  std::vector<std::string> notes;
};

// Adapters are applied in the order given. `tied` are the pairs of find_tied(base). Throws kMalformed when a module
// has no tensor in the base or one of another shape, for quantised weights, and, as tensors are read, for factors
// that are not finite; nothing of `base` is read here but the tensors' descriptions.
MergeResult merge_adapters(Input& base, const std::vector<AdapterUse>& uses,
                           const std::vector<TiedName>& tied);

}  // namespace mu
