// SPDX-License-Identifier: Apache-2.0
// --check=hub on quantised models: scales that don't fit their weights, and scales that are zero, NaN or infinite.
#pragma once

#include "cli/progress.h"
#include "model/input.h"

namespace mu {

// Findings of MD-QUANT-SCALES that reading tensors shows; none if nothing is quantised. Shapes are judged if `known`,
// what check_input found, does not say already that scales are missing, and if the method is one that can be made plain.
// Reads small tensors and, with `values`, all scales.
Findings check_scales(const Input& input, const Findings& known, bool values, unsigned threads,
                      Progress& progress);

}  // namespace mu
