// SPDX-License-Identifier: Apache-2.0
// The low-rank adapter between two full models. Each thread holds one pair of matrices in memory at a time;
// the factors wait in a temporary file, from which they are written afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lora/found.h"
#include "lora/pair_plan.h"
#include "lora/server.h"
#include "model/lora_config.h"

namespace mu {

struct PairResult {
  Input input;  // the tensors of the adapter, read from the temporary file
  LoraConfig config;
  std::vector<ModuleReport> modules;  // in the order of the tuned model
  std::vector<std::string> whole;     // tensors stored whole
  std::vector<std::string> lost;      // tensors that changed but are not in the adapter
  std::uint64_t unchanged = 0;        // modules without a difference
  std::uint64_t noise = 0;            // of `modules`, those in which nothing is above the noise
  std::string_view kernel;
  std::vector<std::string> notes;
  SeenNamesOfPair seen{};
  std::optional<ServedForm> form{};  // for a server
};

// Compares the tensors of the plan whose numbers are `units`, and leaves their factors in a temporary file.
// The result has an entry for each tensor of the plan. Throws kMalformed, naming the tensor, for values that
// are not finite.
std::vector<FoundTensor> factorise(const Input& base, const Input& tuned, const PairPlan& plan,
                                   const std::vector<std::size_t>& units, const PairRunOptions& options);

// Assembles the adapter from everything that was found. Takes over the tuned model.
PairResult assemble_pair(Input tuned, const PairPlan& plan, std::vector<FoundTensor> found,
                         const PairRunOptions& options);

// Throws kMalformed for a tensor that is stored whole and that the server does not apply. Such tensors can be compared
// before the long work on matrices begins.
void require_servable(const PairPlan& plan, const std::vector<FoundTensor>& found, Server server);

// Gives the adapter the form for a server that has this base (serve.h), and returns its config.
std::string serve_pair(PairResult& result, Server server, const Input& base);

}  // namespace mu
