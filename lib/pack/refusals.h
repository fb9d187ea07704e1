// SPDX-License-Identifier: Apache-2.0
// What st-pack refuses before anything is planned: tensors that can't be written, or whose values are in no file.
#pragma once

#include <vector>

#include "model/input.h"
#include "model/prepare.h"
#include "pack/select.h"

namespace mu {

// Throws kMalformed for formats and types that can be read but not written, for placeholders that ZeRO stage 3 leaves,
// and for what ranks pickled of a LoRA run whose lora_alpha nobody knows.
void require_writable_tensors(const std::vector<PackedTensor>& tensors, const Input& input);

// Throws kMalformed if the selection takes parameters without values: they may be left out only on purpose.
void require_found(const Input& input, const Prepared& prepared, const Selection& selection);

}  // namespace mu
