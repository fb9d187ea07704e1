// SPDX-License-Identifier: Apache-2.0
// Shares of an extraction between two models, for work that outgrows a machine (os/parts.h): the unit is a
// tensor. A share holds the factors of its matrices and what was found of each tensor.
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

// The tensors of one share, balanced by the work that they are.
std::vector<std::size_t> pair_units(const PairPlan& plan, const Share& part);

// Puts what was found into the folder, by one rename. Where the share is there by now, ours is given up.
void write_pair_share(const PartsFolder& folder, const Share& part, const std::vector<FoundTensor>& found);

// What the finished shares of this plan found; an entry for each tensor, those that no share has not done.
// Throws kRefused for shares of other plans and for one that is damaged; with `discard_others` they go.
std::vector<FoundTensor> read_pair_shares(const PartsFolder& folder, const PairPlan& plan,
                                          bool discard_others);

}  // namespace mu
