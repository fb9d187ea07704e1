// SPDX-License-Identifier: Apache-2.0
// Tensors that one of two models may have alone although both are the same model: buffers that other releases of
// transformers wrote, layers that only predict further tokens, and heads.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace mu {

enum class Leftover : unsigned char {
  kBuffer,      // computed from the config: rotary inv_freq, attention masks, position ids
  kPrediction,  // multi-token prediction (MTP), which models load without
  kHead,        // of another task
};

// What a tensor is that the other model lacks; nothing for one that must be there.
std::optional<Leftover> leftover_of(std::string_view name, const std::vector<std::uint64_t>& shape,
                                    const std::optional<ModelConfig>& config);

}  // namespace mu
