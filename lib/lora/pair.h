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

#include "lora/pair_plan.h"
#include "lora/server.h"
#include "model/lora_config.h"

namespace mu {

struct RankChoice {
  enum class By : std::uint8_t { kNumber, kNoise, kEnergy } by = By::kNumber;
  std::size_t rank = 64;   // kNumber
  double energy = 0.95;    // kEnergy: fraction of the squared norm
  std::size_t most = 128;  // kNoise, kEnergy
  bool is_default = true;  // nobody asked for that rank
};

struct PairRunOptions {
  RankChoice rank;
  std::optional<double> alpha;  // only with kNumber; default: the rank, so that the scale is 1
  std::optional<Dtype> dtype;   // of the factors; default: as in the tuned model, fp32 for fp64
  bool exact = false;           // iterate until the error is optimal to one part in a million
  std::string kernel = "auto";
  std::string base_id;
  // Of base and tuned: how quantised weights were made plain, or nothing.
  std::pair<std::string, std::string> plain{};
  unsigned threads = 1;
  std::function<void(std::uint64_t)> on_bytes;  // called with the bytes of each finished pair
};

struct ModuleReport {
  std::string name;
  std::size_t m = 0, n = 0;  // as stored
  std::size_t rank = 0;
  double norm = 0;             // Frobenius norm of the difference
  double error = 0;            // relative error of the factors as stored
  double energy = 0;           // fraction of the squared norm that the factors hold
  double gap = 0;              // estimated relative excess of the error over the optimum of that rank
  std::vector<double> values;  // singular values, largest first
};

// What was found for one tensor of a plan.
struct FoundTensor {
  bool done = false;  // it was compared
  bool changed = false;
  bool is_noise = false;  // a matrix that changed, but by no more than rounding does
  ModuleReport report;    // for a matrix that changed
  // Its factors in fp32: A [rank, in], then B [out, rank], from byte `offset` of what `read` reads. Rank 0:
  // no factors.
  std::size_t rank = 0, in = 0, out = 0;
  std::uint64_t offset = 0;
  // Or so many bytes of a tensor that is stored whole, as the tuned model has it; 0: they are read there.
  std::uint64_t kept = 0;
  std::function<void(std::uint64_t at, std::span<std::byte> out)> read;
};

inline std::uint64_t factor_bytes(const FoundTensor& found) {
  return std::uint64_t{found.rank} * (found.in + found.out) * sizeof(float);
}

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

// The type in which the factors of a matrix are stored.
Dtype factor_dtype(const PairTensor& pair, const PairRunOptions& options);

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
