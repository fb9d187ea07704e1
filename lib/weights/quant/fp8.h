// SPDX-License-Identifier: Apache-2.0
// fp8 as DeepSeek publishes it and Transformers reads it ("quant_method": "fp8", integrations/finegrained_fp8.py):
// X.weight, and X.weight_scale_inv, which multiplies, one for each block of weight_block_size, or a single one.
// DeepSeek-V4 keeps experts as pairs of E2M1 in I8, with a scale for 32 of them.
#pragma once

#include "weights/quant/stored.h"

namespace mu {

PlainWeight plain_fp8(const StoredWeight& stored, const QuantContext& context);

}  // namespace mu
