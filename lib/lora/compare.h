// SPDX-License-Identifier: Apache-2.0
// Adapters beside one another and cut to another rank, by their factors alone: no base model needed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lora/adapter.h"
#include "lora/dense.h"

namespace mu {

// Two adapters' deltas of one module.
struct ModuleComparison {
  std::string name;
  bool in_a = false, in_b = false;
  std::uint64_t rank_a = 0, rank_b = 0;
  DeltaComparison deltas{};  // distance 1 where only one of them has the module
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
