// SPDX-License-Identifier: Apache-2.0
// st-inspect on quantised models: when a view shows what they are when plain.
#pragma once

#include "inspect/compared_plain.h"
#include "model/input.h"
#include "st-inspect-options.h"

namespace mu {

// --dequantize: replaces the tensors of the input, and says so. Returns their type. Throws kRefused if nothing in it is
// quantised.
Dtype dequantize(const InspectOptions& options, Input& input);

// For --print: makes the input plain if only then it has the tensor; else a note says that what is printed are the
// stored values.
void prepare_print(const InspectOptions& options, Input& input);

// For --diff. Without --dequantize, what has to be plain becomes so.
PlainSides prepare_sides(const InspectOptions& options, Input& a, Input& b);

}  // namespace mu
