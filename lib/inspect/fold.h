// SPDX-License-Identifier: Apache-2.0
// Tensor names with numbered parts folded: model.layers.0.… to model.layers.31.… become one line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace mu {

// Tensors whose names differ in numbered parts alone and that share dtype and shape.
struct FoldedGroup {
  std::string name;     // "model.layers.[0-31].mlp.up_proj.weight", escaped; of a single tensor its own
  const Tensor* first;  // gives dtype and shape; borrowed
  std::uint64_t count = 0;
  std::uint64_t elements = 0, bytes = 0;
};

// In the order in which their first members stand in `tensors`.
std::vector<FoldedGroup> fold_tensors(const std::vector<const Tensor*>& tensors);

}  // namespace mu
