// SPDX-License-Identifier: Apache-2.0
// --check: what the names, shapes and types of the tensors show about a model or an adapter. Loaders open such
// a file and then find nothing, or wrong values.
#pragma once

#include "model/input.h"

namespace mu {

// Adds the findings of the rules MD-PLACEHOLDER, MD-WRAPPER, MD-QUANT-*, MD-DTYPE and AD-*. Reads no tensors.
void check_tensors(const Input& input, Findings& findings);

}  // namespace mu
