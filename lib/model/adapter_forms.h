// SPDX-License-Identifier: Apache-2.0
// Adapters that other libraries than PEFT wrote. Those of MLX have the same factors, turned, and become PEFT's
// form without copying anything; those of diffusion pipelines are recognised and refused.
// Sources: mlx_lm/tuner (lora.py, dora.py, utils.py); networks/lora.py of kohya's sd-scripts.
#pragma once

#include <string>
#include <string_view>

#include "weights/weights.h"

namespace mu {

// Whether the text of an adapter_config.json is that of MLX.
bool is_mlx_config(std::string_view text);

// Gives the tensors of an MLX adapter the names and the orientation of PEFT's, and returns the config that PEFT
// would have. `text` is MLX's. Throws kMalformed for what has no such form: whole layers, stacked experts,
// quantised factors.
std::string adopt_mlx_adapter(std::string_view text, Weights& weights);

// Throws kMalformed if these are the tensors of a LoRA for a diffusion pipeline, in kohya's form or diffusers'.
void refuse_pipeline_adapter(const Weights& weights);

}  // namespace mu
