// SPDX-License-Identifier: Apache-2.0
// The tensors of a quantised model as somebody thinks of them: a weight, its scales and whatever else belongs to it are
// one line.
#pragma once

#include <deque>
#include <vector>

#include "model/input.h"
#include "model/quant_summary.h"

namespace mu {

struct JoinedTensors {
  std::deque<Tensor> made;             // they have a foreign type ("4.50 bits") and can't be read
  std::vector<const Tensor*> tensors;  // these, and plain ones
};

// Of some tensors of the input, in their order. What belongs to a weight that is not among them stays as it is.
JoinedTensors join_quantised(const Input& input, const QuantSummary& summary,
                             const std::vector<const Tensor*>& tensors);

}  // namespace mu
