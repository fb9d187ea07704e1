// SPDX-License-Identifier: Apache-2.0
// What can't be told from names and shapes, but for square matrices from the family alone.
#pragma once

#include <string_view>

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

// Families whose stacks of experts are stored [experts, in, out].
inline bool has_transposed_experts(std::string_view model_type) {
  return model_type == "gpt_oss" || model_type == "llama4" || model_type == "llama4_text";
}

// Types whose values mean what they say, without scales.
inline bool is_plain_float(Dtype dtype) {
  return dtype == Dtype::kF32 || dtype == Dtype::kF16 || dtype == Dtype::kBF16 || dtype == Dtype::kF64;
}

}  // namespace mu
