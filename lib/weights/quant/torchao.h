// SPDX-License-Identifier: Apache-2.0
// torchao's tensors of 8 bits as Transformers saves them: X._weight_qdata, X._weight_scale, X._weight_zero_point, and
// in the file's metadata, under the name X.weight, what kind of tensor they are
// (torchao.prototype.safetensors.unflatten_tensor_state_dict, then dequantize).
#pragma once

#include "weights/quant/stored.h"

namespace mu {

PlainWeight plain_torchao(const StoredWeight& stored, const QuantContext& context);

}  // namespace mu
