// SPDX-License-Identifier: Apache-2.0
// Weights quantised to fp8 (E4M3), with a scale for each row or each block of 128 x 128: bit for bit what
// llm-compressor (0.14.0.1, model_free_ptq) and transformers (5.23, Fp8Quantize) make of them.
#pragma once

#include <memory>
#include <vector>

#include "weights/quant/encoded.h"
#include "weights/quant/magnitudes.h"

namespace mu {

enum class Fp8Scales : std::uint8_t {
  kRows,    // X.weight_scale [rows, 1] in the weight's own type
  kBlocks,  // X.weight_scale [rows / 128, columns / 128], rounded up, in the weight's own type
  kFactor,  // X.weight_scale_inv, the same in F32; transformers' dialect, of whole blocks only
};
inline constexpr std::uint64_t kFp8Block = 128;

// X.weight and its scales.
std::vector<Tensor> encode_fp8(const PlainModule& module, Fp8Scales scales,
                               std::shared_ptr<MagnitudeCache> cache);

}  // namespace mu
