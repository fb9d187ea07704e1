// SPDX-License-Identifier: Apache-2.0
// compressed-tensors with values of four bits that are floats (E2M1): nvfp4-pack-quantized and mxfp4-pack-quantized.
// The library computes in bf16, whatever type is wanted (CompressedTensorsDequantizer.process).
#pragma once

#include "weights/quant/ct_args.h"
#include "weights/quant/stored.h"

namespace mu {

// X.weight_packed U8, X.weight_scale F8_E4M3 for 16 columns, and X.weight_global_scale, which divides these.
PlainWeight plain_ct_nvfp4(const StoredWeight& stored, const QuantContext& context, const CtArgs& args);

// X.weight_packed U8, and X.weight_scale U8 for 32 columns, an exponent.
PlainWeight plain_ct_mxfp4(const StoredWeight& stored, const QuantContext& context, const CtArgs& args);

}  // namespace mu
