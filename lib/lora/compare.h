// SPDX-License-Identifier: Apache-2.0
// Compares two adapters, and cuts one to another rank, by what they hold: no base model is needed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fetch/ranges.h"
#include "lora/dense.h"
#include "model/lora_adapter.h"

namespace mu {

// The deltas of two adapters for one module.
struct ModuleComparison {
  std::string name;
  bool in_a = false, in_b = false;
  std::uint64_t rank_a = 0, rank_b = 0;
  DeltaComparison deltas{};  // distance 1 if only one of them has the module
};

// What two adapters hold beside factors: modules that are saved whole, biases, DoRA's magnitudes, trained rows.
struct TensorComparison {
  std::string name;  // "lm_head.weight"
  bool in_a = false, in_b = false;
  double distance = 1;  // ||a - b|| / max(||a||, ||b||); 1 if only one has it, or their shapes differ
};

struct AdapterComparison {
  std::vector<ModuleComparison> modules;  // each expert of a stack is one: "….experts.down_proj[3]"
  std::vector<TensorComparison> tensors;
};

// Compares by name. Throws kMalformed if the deltas of a module have different shapes, and for values that are not
// finite.
AdapterComparison compare_adapters(const Adapter& a, const Adapter& b);

struct ResizedModule {
  std::string name;
  std::uint64_t old_rank = 0, rank = 0;  // `rank` without padding
  double error = 0;                      // relative error of the delta
};

struct Resized {
  Input input;              // tensors of the adapter, computed as they are read
  std::string config_text;  // one rank for all, alpha = rank
  std::vector<ResizedModule> modules;
};

// The best adapter of rank `rank`: it keeps the largest singular values of each delta. The other tensors of
// the adapter are kept. Takes the input of the opened folder, whose tensors `adapter` describes. Throws
// kMalformed for stacks of experts.
Resized resize_adapter(const std::shared_ptr<const Adapter>& adapter, Input input, std::uint64_t rank);

// What compare_adapters() of two, or resize_adapter() of one, reads of files on other machines, about in that order.
std::vector<FarRange> far_reads(const std::vector<const Adapter*>& adapters);

}  // namespace mu
