// SPDX-License-Identifier: Apache-2.0
// compressed-tensors' pack-quantized: whole numbers of 1 to 8 bits, row after row in 32-bit words
// (PackedQuantizationCompressor of compressed_tensors 0.20; weight_g_idx as 0.10 read it).
#pragma once

#include "weights/quant/ct_args.h"
#include "weights/quant/stored.h"

namespace mu {

// X.weight_packed, X.weight_scale, X.weight_shape, where the group is asymmetric X.weight_zero_point, packed along the
// rows, and X.weight_g_idx where columns say which group they are in.
PlainWeight plain_ct_packed(const StoredWeight& stored, const QuantContext& context, const CtArgs& args);

}  // namespace mu
