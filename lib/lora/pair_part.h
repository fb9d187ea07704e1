// SPDX-License-Identifier: Apache-2.0
// Parts of an extraction between two models, for work that outgrows a machine (os/parts.h): the unit is a
// tensor. A part holds the factors of its matrices and what was found of each tensor.
#pragma once

#include <string>
#include <vector>

#include "base/part.h"
#include "lora/pair.h"
#include "model/fingerprint.h"
#include "os/parts.h"

namespace mu {

// Of all that decides the factors: tensors and what is done with them, options, kernel, both models.
std::string pair_fingerprint(const PairPlan& plan, const PairRunOptions& options, const Input& base,
                             const Input& tuned, KnownBy by);

// The tensors of one part, balanced by the work that they are.
std::vector<std::size_t> pair_units(const PairPlan& plan, const Part& part);

// Puts what was found into the folder, by one rename. Where the part is there by now, ours is given up.
void write_pair_part(const PartsFolder& folder, const Part& part, const std::vector<FoundTensor>& found);

// What the finished parts of this plan found; an entry for each tensor, those that no part has not done.
// Throws kRefused for parts of other plans and for one that is damaged; with `discard_others` they go.
std::vector<FoundTensor> read_pair_parts(const PartsFolder& folder, const PairPlan& plan,
                                         bool discard_others);

}  // namespace mu
