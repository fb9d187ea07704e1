// SPDX-License-Identifier: Apache-2.0
// The header of a GGUF file (ggml-org/ggml, docs/gguf.md; versions 1 to 3, both byte orders): key/values and
// the list of tensors, quantised types by their names and sizes. Read only.
#pragma once

#include <string_view>

#include "weights/weights.h"

namespace mu {

bool is_gguf_start(std::string_view start);

// Adds the file and its tensors: shapes row-major (the reverse of the file's order), key/values as metadata,
// long ones shortened. Types that safetensors has are ordinary tensors, the others are foreign. Throws
// kMalformed for counts, lengths and offsets that lie.
void add_gguf(Weights& weights, InputFile file);

}  // namespace mu
