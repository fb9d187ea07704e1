// SPDX-License-Identifier: Apache-2.0
// fp8 files of ComfyUI: X.weight, and one scale, X.scale_weight or X.weight_scale; how it is stored is in X.comfy_quant
// or in the file's metadata, if anywhere (comfy/utils.py, convert_old_quants). The library rounds the scale to the type
// that is wanted and multiplies in it (comfy_kitchen, dequantize_per_tensor_fp8).
#pragma once

#include "weights/quant/stored.h"

namespace mu {

// Reads the metadata once.
PlainOf plain_comfy(const QuantContext& context);

}  // namespace mu
