// SPDX-License-Identifier: Apache-2.0
// Weights quantised to fp4 (E2M1), with a scale for each 32 (MXFP4) or 16 (NVFP4) neighbours in a row: bit for bit what
// llm-compressor (0.14.0.1, model_free_ptq) makes of them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "weights/quant/encoded.h"
#include "weights/quant/magnitudes.h"

namespace mu {

inline constexpr std::uint64_t kMxGroup = 32, kNvGroup = 16;  // must divide the columns

// X.weight_packed and X.weight_scale (powers of two, as their exponent plus 127).
std::vector<Tensor> encode_mxfp4(const PlainModule& module);

// X.weight_packed, X.weight_scale and X.weight_global_scale of number `which` of a set of modules that share the last
// of these. `shared` is that of the set.
std::vector<Tensor> encode_nvfp4(std::span<const PlainModule> set, std::size_t which,
                                 std::shared_ptr<SharedMagnitude> shared);

}  // namespace mu
