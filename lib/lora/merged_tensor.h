// SPDX-License-Identifier: Apache-2.0
// One tensor of a base model with deltas added, made as it is read: W <- W + s L R for each adapter in turn,
// under DoRA W <- m / ||W0 + s L R|| (W + s L R), rows replaced at the end. In fp32, rounded once to the
// base's type; sums run in a fixed order, so that results are the same on any machine and for any number of
// threads.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "lora/adapter.h"

namespace mu {

// How the factors of a module lie towards the tensor as it is stored.
struct DeltaShape {
  std::uint64_t experts = 1;  // in the tensor
  // Factors of a stack of experts: lora_A expert-major, lora_B with the expert innermost.
  std::uint64_t of_experts = 1, first_expert = 0;
  std::uint64_t first_out = 0;    // row of lora_B at which the tensor begins
  std::uint64_t out = 0, in = 0;  // of one delta B A
  bool transposed = false;        // the tensor holds [in, out]
};

struct MergeStep {
  std::shared_ptr<const Adapter> adapter;  // which the module belongs to
  const LoraModule* module = nullptr;
  DeltaShape shape;
  float scale = 1;
  bool is_bias = false;  // the tensor is the bias, and gets `scale` lora_B.bias
};

struct RowsStep {
  std::shared_ptr<const Adapter> adapter;
  const ReplacedRows* rows = nullptr;
};

class MergedTensor {
 public:
  // Borrows `base`, which must stay where it is.
  MergedTensor(const Weights& base, Tensor tensor, std::vector<MergeStep> steps, std::vector<RowsStep> rows);
  ~MergedTensor();

  // Fills `out` from byte `at`, both at elements. Thread safe. Throws kMalformed for factors that hold NaN or
  // infinity, kIo.
  void read(std::uint64_t at, std::span<std::byte> out);

 private:
  struct Factors;
  std::shared_ptr<const Factors> factors_of(std::size_t step);
  void add_steps(std::uint64_t first, std::span<float> values);
  void replace_rows(std::uint64_t first, std::span<float> values);
  void decode_base(std::uint64_t first, std::span<float> values) const;

  const Weights& base_;
  Tensor tensor_;
  std::uint64_t columns_;
  std::vector<MergeStep> steps_;
  std::vector<RowsStep> rows_;
  std::mutex mutex_;  // guards what follows
  std::vector<std::weak_ptr<const Factors>> factors_;
};

}  // namespace mu
