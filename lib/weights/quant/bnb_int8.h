// SPDX-License-Identifier: Apache-2.0
// bitsandbytes' LLM.int8(): X.weight I8, X.SCB with the largest magnitude of each row, and X.weight_format, which says
// that the rows are in order (functional.int8_vectorwise_dequant).
#pragma once

#include "weights/quant/stored.h"

namespace mu {

PlainWeight plain_bnb_int8(const StoredWeight& stored, const QuantContext& context);

}  // namespace mu
