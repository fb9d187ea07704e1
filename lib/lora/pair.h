// SPDX-License-Identifier: Apache-2.0
// The low-rank adapter between two full models. One matrix pair is in memory at a time for each thread, its
// factors wait in a temporary file; what is written afterwards is read from there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lora/config.h"
#include "lora/pair_plan.h"

namespace mu {

struct RankChoice {
  enum class By : std::uint8_t { kNumber, kNoise, kEnergy } by = By::kNumber;
  std::size_t rank = 64;   // kNumber
  double energy = 0.95;    // kEnergy: share of the squared norm
  std::size_t most = 128;  // kNoise, kEnergy
};

struct PairRunOptions {
  RankChoice rank;
  std::optional<double> alpha;  // with kNumber alone; default: the rank, so that the scale is 1
  std::optional<Dtype> dtype;   // of the factors; default: each tensor's in the tuned model, fp32 for fp64
  bool exact = false;           // iterate until the error is the optimum's to one part in a million
  std::string kernel = "auto";
  std::string base_id;
  unsigned threads = 1;
  std::function<void(std::uint64_t)> on_bytes;  // of the pairs, as they are done
};

struct ModuleReport {
  std::string name;
  std::size_t m = 0, n = 0;  // as stored
  std::size_t rank = 0;
  double norm = 0;             // Frobenius norm of the difference
  double error = 0;            // of the factors as stored, relative to it
  double energy = 0;           // share of the squared norm that the factors hold
  double gap = 0;              // estimate of the error over the optimum of that rank
  std::vector<double> values;  // singular values, largest first
};

// What was found of one tensor of a plan.
struct FoundTensor {
  bool done = false;  // it was looked at
  bool changed = false;
  ModuleReport report;  // of a matrix that changed
  // Its factors in fp32: A [rank, in], then B [out, rank], from byte `offset` of what `read` reads. rank 0:
  // none.
  std::size_t rank = 0, in = 0, out = 0;
  std::uint64_t offset = 0;
  std::function<void(std::uint64_t at, std::span<std::byte> out)> read;
};

struct PairResult {
  Input input;  // the adapter's tensors, read from where they wait
  LoraConfig config;
  std::vector<ModuleReport> modules;  // in the order of the tuned model
  std::vector<std::string> whole;     // tensors that go along whole
  std::vector<std::string> lost;      // tensors that changed and are no part of it
  std::uint64_t unchanged = 0;        // modules without a difference
  std::string_view kernel;
  std::vector<std::string> notes;
};

// In which the factors of a matrix are stored.
Dtype factor_dtype(const PairTensor& pair, const PairRunOptions& options);

// Looks at the tensors of the plan whose numbers are `units`, and leaves factors in a temporary file. The
// result has an entry for each tensor of the plan. Throws kMalformed for values that are not finite, by name.
std::vector<FoundTensor> factorise(const Input& base, const Input& tuned, const PairPlan& plan,
                                   const std::vector<std::size_t>& units, const PairRunOptions& options);

// The adapter of what was found, all of it. Takes the tuned model over.
PairResult assemble_pair(Input tuned, const PairPlan& plan, std::vector<FoundTensor> found,
                         const PairRunOptions& options);

}  // namespace mu
