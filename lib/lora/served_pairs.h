// SPDX-License-Identifier: Apache-2.0
// The factors of an adapter, each pair with the place in the base that it changes: a layer, the stack of all experts,
// or one expert's part of a stack.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lora/served_base.h"
#include "model/adapter_in_base.h"
#include "model/lora_adapter.h"

namespace mu {

// Factors of one matrix: A [rank, in], B [out, rank]. Of all experts: A [experts * rank, in], the experts one below
// the other, and B [out, rank * experts], the experts of each component side by side.
struct FactorPair {
  Tensor a, b;
  std::uint64_t rank = 0;
  double alpha = 0;

  [[nodiscard]] double scale(bool use_rslora) const {
    return lora_scale(alpha, static_cast<double>(rank), use_rslora);
  }
};

// A pair under the name of a module.
struct ServedPair {
  std::string module;   // "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.experts.base_layer"
  std::string matched;  // what patterns of ranks are for: the module, or of all experts their parameter
  FactorPair factors;
  const LoraModule* own = nullptr;  // of a layer: the module of the adapter that it is made of
};

struct LayerPair {
  ServedTensor tensor;
  FactorPair factors;
  const LoraModule* own = nullptr;
};

// What there is for one stack: factors of all experts, or of single ones by number and leaf.
struct StackPairs {
  const ExpertStack* stack = nullptr;
  std::optional<FactorPair> whole;
  std::map<std::pair<std::uint64_t, std::size_t>, FactorPair> parts;
};

struct PairsInBase {
  std::vector<LayerPair> layers;  // in the order of the adapter
  std::map<std::string, std::vector<StackPairs>>
      containers;  // by name in memory; one entry for each of its stacks
};

// Throws kMalformed, naming them, for modules that the base lacks or that don't fit it. Modules that are not targets
// are left out.
PairsInBase find_pairs(const AdapterContent& adapter, const LoraConfig& config, const AdapterInBase& found,
                       const ServedBase& base);

}  // namespace mu
