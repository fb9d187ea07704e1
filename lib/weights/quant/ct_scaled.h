// SPDX-License-Identifier: Apache-2.0
// compressed-tensors with one value a byte: float-quantized (fp8) and int-quantized (int8) weights, whose scales are
// in the type that the model was trained in. Every step is rounded to that type, as the library does it
// (CompressedTensorsDequantizer.process).
#pragma once

#include "weights/quant/ct_args.h"
#include "weights/quant/stored.h"

namespace mu {

// X.weight F8 and X.weight_scale; for mxfp8-quantized, scales are U8 exponents.
PlainWeight plain_ct_float(const StoredWeight& stored, const QuantContext& context, const CtArgs& args);

// X.weight I8, X.weight_scale, and X.weight_zero_point I8 where the group is asymmetric.
PlainWeight plain_ct_int(const StoredWeight& stored, const QuantContext& context, const CtArgs& args);

}  // namespace mu
