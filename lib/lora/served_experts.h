// SPDX-License-Identifier: Apache-2.0
// Factors of experts, from PEFT's layout (one pair for all experts of a parameter) to one pair for each matrix, and
// back.
#pragma once

#include <cstdint>
#include <vector>

#include "lora/served_pairs.h"
#include "lora/served_values.h"

namespace mu {

// A pair for every expert and leaf of a container: those that the adapter lacks are zeros of the rank of their kind.
// `zeros` counts them. The stacks must be divisible.
std::vector<ServedPair> split_experts(const std::vector<StackPairs>& container, std::uint64_t& zeros);

// One pair for all experts. Leaves with the same A share it; else the rank is the sum of theirs, and B is block diagonal.
// Smaller ranks are padded, and what has another scale than the rest is multiplied, which `scaled` counts. Without any
// factors, zeros of the rank that the other stacks of the container have.
FactorPair join_experts(const StackPairs& pairs, const std::vector<StackPairs>& container,
                        const Weights& weights, bool use_rslora, std::uint64_t& scaled);

// Whether it holds nothing but pairs of zeros, as servers need them. Reads.
bool has_only_zeros(const StackPairs& pairs, const Weights& weights);

}  // namespace mu
