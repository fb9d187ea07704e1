// SPDX-License-Identifier: Apache-2.0
// Weights that bitsandbytes stores in 4 bits (NF4, FP4: QLoRA's bases) or 8 (LLM.int8()). What a weight of 4 bits is
// stands in a tensor that holds JSON; its scales may be quantised in turn ("nested", double quantisation). Values are
// those of functional.dequantize_4bit of bitsandbytes 0.50.
#pragma once

#include "weights/quant/stored.h"

namespace mu {

PlainWeight plain_bitsandbytes(const StoredWeight& stored, const QuantContext& context);

}  // namespace mu
