// SPDX-License-Identifier: Apache-2.0
// How the tensors of a pair of models are compared, and what is found for each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lora/pair_plan.h"

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

// The type in which the factors of a matrix are stored.
Dtype factor_dtype(const PairTensor& pair, const PairRunOptions& options);

}  // namespace mu
