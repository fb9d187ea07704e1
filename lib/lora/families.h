// SPDX-License-Identifier: Apache-2.0
// What can't be told from names and shapes, but for square matrices from the family alone.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace mu {

// Families whose linear layers are Conv1D, stored [in, out].
inline bool is_conv1d_family(std::string_view model_type) {
  return model_type == "gpt2" || model_type == "openai-gpt" || model_type == "imagegpt" ||
         model_type == "decision_transformer" || model_type == "clvp";
}

// The layers of such a family that are Conv1D.
inline bool is_conv1d_layer(std::string_view name) {
  return name == "c_attn" || name == "c_proj" || name == "c_fc" || name == "q_attn";
}

// Parameters of a stack of experts in the order in which they are registered; PEFT's wrappers nest the other
// way round, the last one outermost.
inline constexpr std::array<std::string_view, 2> kExpertParameters = {"gate_up_proj", "down_proj"};

// Whether the stacks of a container, by the shapes of both, are [experts, in, out] in PEFT's reading (0.20
// and later). Hidden size H and intermediate size I tell: [E, H, 2 I] and [E, I, H] are. Llama 4 keeps them
// so too, but does not declare it, and PEFT takes them the other way.
inline bool has_transposed_experts(const std::vector<std::uint64_t>& gate_up,
                                   const std::vector<std::uint64_t>& down, std::string_view model_type) {
  return gate_up.size() == 3 && down.size() == 3 && gate_up[1] == down[2] && gate_up[2] / 2 == down[1] &&
         !model_type.starts_with("llama4");
}

// Types whose values mean what they say, without scales.
inline bool is_plain_float(Dtype dtype) {
  return dtype == Dtype::kF32 || dtype == Dtype::kF16 || dtype == Dtype::kBF16 || dtype == Dtype::kF64;
}

}  // namespace mu
