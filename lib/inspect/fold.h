// SPDX-License-Identifier: Apache-2.0
// Folds tensor names with numbered components: model.layers.0.… to model.layers.31.… become one line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace mu {

// Tensors whose names differ only in numbered components and that have the same dtype and shape.
struct FoldedGroup {
  std::string name;  // "model.layers.[0-31].mlp.up_proj.weight", escaped; the plain name for a single tensor
  const Tensor* first;  // gives dtype and shape; borrowed
  std::uint64_t count = 0;
  std::uint64_t elements = 0, bytes = 0;
};

// Groups are in the order of their first members in `tensors`.
std::vector<FoldedGroup> fold_tensors(const std::vector<const Tensor*>& tensors);

}  // namespace mu
