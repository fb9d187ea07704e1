// SPDX-License-Identifier: Apache-2.0
// AWQ as AutoAWQ stores it for its kernel "gemm" (dequantize_gemm of autoawq 0.2.9): X.qweight, X.qzeros and X.scales.
#pragma once

#include "weights/quant/stored.h"

namespace mu {

// Reads the settings once. Throws kRefused for widths and forms that can't be made plain.
PlainOf plain_awq(const QuantContext& context);

}  // namespace mu
