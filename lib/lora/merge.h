// SPDX-License-Identifier: Apache-2.0
// Merges LoRA adapters into a base model: tensors of the base are replaced with tensors that are computed
// from base and factors as they are read, in memory that does not grow with the model. Values equal those of
// PEFT's merge_and_unload to one unit in the last place of the type of the base at max(|W|, |dW|, |W + dW|):
// deltas are summed and added in fp32 and rounded once. Source: PEFT 0.21.2, tuners/lora/layer.py and
// variants.py.
#pragma once

#include <vector>

#include "lora/merge_base.h"

namespace mu {

// Adapters are applied in the order given. Whole tensors of an adapter get the dtype of those that they replace;
// with `keep_dtypes` they keep their own, for a caller that casts all afterwards. `tied` are the pairs of
// find_tied(base); a quantised base has been made plain. Throws kMalformed if the base lacks the tensor of a module
// or has it in another shape or type and, while tensors are read, for factors that are not finite; kRefused for
// adapters that hold a tensor whole with different values. Here only the descriptions of the tensors of `base` are
// read.
MergeResult merge_adapters(Input& base, const std::vector<AdapterUse>& uses,
                           const std::vector<TiedName>& tied, bool keep_dtypes = false);

}  // namespace mu
