// SPDX-License-Identifier: Apache-2.0
// Parts of an extraction between two models, for work that outgrows a machine (os/parts.h). The unit of work
// is a tensor. A part holds the factors of its matrices and what was found for each tensor.
#pragma once

#include <string>
#include <vector>

#include "base/part.h"
#include "lora/pair.h"
#include "model/fingerprint.h"
#include "os/parts.h"

namespace mu {

// The fingerprint of everything that decides the factors: the tensors and what is done with them, options,
// kernel, both models.
std::string pair_fingerprint(const PairPlan& plan, const PairRunOptions& options, const Input& base,
                             const Input& tuned, KnownBy by);

// The tensors of one part, balanced by work.
std::vector<std::size_t> pair_units(const PairPlan& plan, const Part& part);

// Puts what was found into the folder, by one rename. If the part exists by then, ours is discarded.
void write_pair_part(const PartsFolder& folder, const Part& part, const std::vector<FoundTensor>& found);

// What the finished parts of this plan found; an entry for each tensor, not `done` if no part has it. Throws
// kRefused for parts of other plans and for a damaged one; `discard_others` deletes them instead.
std::vector<FoundTensor> read_pair_parts(const PartsFolder& folder, const PairPlan& plan,
                                         bool discard_others);

}  // namespace mu
