// SPDX-License-Identifier: Apache-2.0
// One input as a JSON document, schema "modelutils.st-inspect/1", described in st-inspect(1).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "inspect/check_adapter.h"
#include "inspect/facts.h"
#include "inspect/measure.h"

namespace mu {

// What was measured, if anything was asked for; in the order of the tensors.
struct Measured {
  std::vector<std::string> stats;  // stats_json() of each tensor
  std::optional<TensorStats> total;
  std::optional<Hashes> hashes;
  std::optional<AdapterCheck> in_base;
};

// Statistics of one tensor as a JSON object on one line.
std::string stats_json(Dtype dtype, const TensorStats& stats);

// With indent 0 the document is one line. Ends with a newline.
std::string input_json(const Input& input, const InputFacts& facts, const Findings& findings,
                       const std::vector<const Tensor*>& tensors, const Measured& measured, int indent);

}  // namespace mu
