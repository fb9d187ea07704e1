// SPDX-License-Identifier: Apache-2.0
// What SGLang needs beside names: all factors of one rank and one scale, and factors for all projections that it
// keeps in one matrix.
#pragma once

#include <vector>

#include "lora/served_pairs.h"
#include "lora/served_values.h"
#include "lora/server.h"

namespace mu {

// Adds pairs of zeros, and pads and multiplies factors; `form` counts them. Throws kMalformed for modules that
// SGLang does not apply or takes for others.
void make_uniform(std::vector<ServedPair>& pairs, const LoraConfig& config, const ServedBase& base,
                  ServedForm& form);

}  // namespace mu
