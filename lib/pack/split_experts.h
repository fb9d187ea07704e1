// SPDX-License-Identifier: Apache-2.0
// Stacks of experts (gate_up_proj [experts, 2 x intermediate, hidden], down_proj [experts, hidden, intermediate])
// taken apart into one matrix for each expert and projection, under the names that llm-compressor gives them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/glob.h"
#include "pack/names.h"
#include "pack/select.h"

namespace mu {

// The modules into which a stack falls; empty: it is none, by its name and dimensions.
std::vector<std::string> expert_modules(const TensorSpec& tensor);

// Replaces the stacks in the list by views. Those of a container of which `keep` matches every expert stay whole where
// they can't be split: their matrices are transposed (gpt-oss, Llama 4), their shapes don't fit each other, or names
// must stay (`as_is`). Otherwise throws kRefused for the first and the last, kMalformed for such shapes.
void split_experts(std::vector<PackedTensor>& tensors, const std::vector<Glob>& keep, bool as_is,
                   std::string_view model_type, std::vector<MadeTensors>& made);

}  // namespace mu
