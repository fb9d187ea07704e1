// SPDX-License-Identifier: Apache-2.0
// Adapters beside one another and cut to another rank, by their factors alone: QR and small decompositions in
// fp64, no base model needed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lora/adapter.h"

namespace mu {

// Two adapters' deltas of one module.
struct ModuleComparison {
  std::string name;
  bool in_a = false, in_b = false;
  std::uint64_t rank_a = 0, rank_b = 0;
  double distance = 0;  // ||dA - dB||_F / max(||dA||_F, ||dB||_F)
  double cosine = 0;    // of the deltas as vectors
  // Largest and mean principal angle between the spaces that the deltas write to, in degrees; of as many
  // dimensions as the smaller rank has.
  double largest_angle = 0, mean_angle = 0;
};

// By name. Throws kMalformed for modules of different shapes.
std::vector<ModuleComparison> compare_adapters(const Adapter& a, const Adapter& b);

struct ResizedModule {
  std::string name;
  std::uint64_t old_rank = 0, rank = 0;  // `rank` without what is padded
  double error = 0;                      // of the delta, relative
};

struct Resized {
  Input input;              // tensors of the adapter, made as they are read
  std::string config_text;  // one rank for all, alpha = rank
  std::vector<ResizedModule> modules;
};

// The best adapter of rank `rank`: the deltas' largest singular values. The adapter's other tensors come
// along. Takes the opened folder's input, whose tensors `adapter` describes. Throws kMalformed for stacks of
// experts.
Resized resize_adapter(const std::shared_ptr<const Adapter>& adapter, Input input, std::uint64_t rank);

}  // namespace mu
