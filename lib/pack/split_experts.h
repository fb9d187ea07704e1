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

// Whether it is such a stack, by its name and dimensions.
bool is_expert_stack(const TensorSpec& tensor);

// Replaces the stacks in the list by views; one of which `keep` matches every expert stays whole. `as_is` forbids it.
// Throws kRefused for that, and for stacks whose matrices are transposed (gpt-oss, Llama 4); kMalformed for shapes that
// don't fit each other.
void split_experts(std::vector<PackedTensor>& tensors, const std::vector<Glob>& keep, bool as_is,
                   std::string_view model_type, std::vector<MadeTensors>& made);

}  // namespace mu
