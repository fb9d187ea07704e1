// SPDX-License-Identifier: Apache-2.0
// Which casts would ruin a quantised model: its weights and their scales have values only together.
#pragma once

#include <vector>

#include "model/input.h"
#include "pack/select.h"

namespace mu {

// Throws kRefused if a general --dtype meets a quantised model, or if a tensor of `packed` that belongs to
// quantised weights would change its type. An fp8 tensor without a scale is a number like any other, unless a
// config calls the model quantised.
void refuse_casts_of_quantised(const Input& input, const Selection& selection,
                               const std::vector<PackedTensor>& packed);

}  // namespace mu
