// SPDX-License-Identifier: Apache-2.0
// st-inspect --stats, --hash, --check and --json: the views that read the values, in parts too.
#pragma once

#include <optional>
#include <vector>

#include "model/input.h"
#include "st-inspect-options.h"

namespace mu {

// Warns on stderr, for views that don't show it, that loading the file would run code.
void warn_of_danger(const Input& input);

// --stats, --hash, --check and --json, in any combination; `base` is that of --base, or null. The exit code.
int measure(const InspectOptions& options, const Input& input, const std::vector<const Tensor*>& tensors,
            const Input* base);

// --part: the numbers of one part; `plain` is the type in which the tensors were made plain, if they were.
int measure_part(const InspectOptions& options, const Input& input, const std::vector<const Tensor*>& tensors,
                 std::optional<Dtype> plain);

// --combine: what its operands, the parts, say about the whole.
int combine(InspectOptions options);

}  // namespace mu
