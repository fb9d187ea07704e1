// SPDX-License-Identifier: Apache-2.0
// GPTQ as AutoGPTQ and GPTQModel store it (BaseQuantLinear.dequantize_weight of gptqmodel 7): X.qweight, X.qzeros,
// X.scales and X.g_idx.
#pragma once

#include "weights/quant/stored.h"

namespace mu {

// Reads the settings once. Throws kRefused for widths and forms that can't be made plain.
PlainOf plain_gptq(const QuantContext& context);

}  // namespace mu
