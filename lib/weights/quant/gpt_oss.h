// SPDX-License-Identifier: Apache-2.0
// The experts of gpt-oss ("quant_method": "mxfp4"): X_blocks U8 [experts, out, groups, 16], two E2M1 values a byte, and
// X_scales U8 [experts, out, groups], an exponent for 32 values. Plain, X is [experts, in, out]: transposed, as
// Transformers has it in memory and in files (integrations/mxfp4.py, convert_moe_packed_tensors).
#pragma once

#include "weights/quant/stored.h"

namespace mu {

PlainWeight plain_gpt_oss(const StoredWeight& stored, const QuantContext& context);

}  // namespace mu
