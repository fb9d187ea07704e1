// SPDX-License-Identifier: Apache-2.0
// What names and shapes don't show, at least for square matrices, and only the family of the model tells.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace mu {

// Families whose linear layers are Conv1D, stored as [in, out].
inline bool is_conv1d_family(std::string_view model_type) {
  return model_type == "gpt2" || model_type == "openai-gpt" || model_type == "imagegpt" ||
         model_type == "decision_transformer" || model_type == "clvp";
}

// Which layers of such a family are Conv1D.
inline bool is_conv1d_layer(std::string_view name) {
  return name == "c_attn" || name == "c_proj" || name == "c_fc" || name == "q_attn";
}

// The parameters of a stack of experts, in the order in which they are registered; PEFT nests its wrappers
// the other way round, the last one outermost.
inline constexpr std::array<std::string_view, 4> kExpertParameters = {"gate_up_proj", "gate_proj", "up_proj",
                                                                      "down_proj"};

// Whether PEFT (0.20 and later) reads the stacks of a container, with these two shapes, as [experts, in,
// out]. With hidden size H and intermediate size I that is so for [E, H, 2 I] and [E, I, H]. Llama 4 stores
// them so too, but does not declare it, and PEFT reads them the other way round.
inline bool has_transposed_experts(const std::vector<std::uint64_t>& gate_up,
                                   const std::vector<std::uint64_t>& down, std::string_view model_type) {
  return gate_up.size() == 3 && down.size() == 3 && gate_up[1] == down[2] && gate_up[2] / 2 == down[1] &&
         !model_type.starts_with("llama4");
}

// The head that PEFT keeps whole for a task: it never gets factors (0.21.2, PeftModelForSequenceClassification and
// the like). A head may be one layer, or hold several ("classifier.dense").
inline bool is_head_of_task(std::string_view task_type, std::string_view parameter) {
  const std::string_view head = parameter.substr(0, parameter.find('.'));
  if (task_type == "SEQ_CLS" || task_type == "TOKEN_CLS") return head == "classifier" || head == "score";
  return task_type == "QUESTION_ANS" && head == "qa_outputs";
}

// Layers that PEFT refuses to adapt, by any of its ways (0.21.2, _check_lora_target_modules_mamba).
inline bool is_refused_by_peft(std::string_view model_type, std::string_view layer) {
  return (layer == "out_proj" || layer == "conv1d") &&
         (model_type == "falcon_h1" || model_type == "mamba" || model_type == "mamba2" ||
          model_type == "falcon_mamba" || model_type == "nemotron_h");
}

// Types whose values need no scale.
inline bool is_plain_float(Dtype dtype) {
  return dtype == Dtype::kF32 || dtype == Dtype::kF16 || dtype == Dtype::kBF16 || dtype == Dtype::kF64;
}

}  // namespace mu
