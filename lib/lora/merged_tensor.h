// SPDX-License-Identifier: Apache-2.0
// One tensor of a base model with deltas added, computed as it is read: W <- W + s L R for each adapter in
// turn, with DoRA W <- m / ||W0 + s L R|| (W + s L R), and rows replaced at the end. The arithmetic is in
// fp32 and rounded once to the type of the base; sums run in a fixed order, so results are the same on any
// machine and for any number of threads.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "model/lora_adapter.h"

namespace mu {

// How the factors of a module relate to the tensor as it is stored.
struct DeltaShape {
  std::uint64_t experts = 1;  // in the tensor
  // For factors of a stack of experts: lora_A is expert-major, lora_B has the expert innermost.
  std::uint64_t of_experts = 1, first_expert = 0;
  std::uint64_t first_out = 0;    // the row of lora_B where the tensor begins
  std::uint64_t out = 0, in = 0;  // of one delta B A
  bool transposed = false;        // the tensor holds [in, out]
  // The element of the tensor where the deltas begin, which need not fill it: one expert of a stack.
  std::uint64_t begin = 0;
};

struct MergeStep {
  std::shared_ptr<const Adapter> adapter;  // that the module belongs to
  const LoraModule* module = nullptr;
  DeltaShape shape;
  float scale = 1;
  bool is_bias = false;  // the tensor is the bias, and gets `scale` * lora_B.bias

  // How many elements of the tensor it changes.
  [[nodiscard]] std::uint64_t count() const {
    return is_bias ? shape.out : shape.experts * shape.out * shape.in;
  }
};

struct RowsStep {
  std::shared_ptr<const Adapter> adapter;
  const ReplacedRows* rows = nullptr;
};

class MergedTensor {
 public:
  // Borrows `base`, which must stay in place.
  MergedTensor(const Weights& base, Tensor tensor, std::vector<MergeStep> steps, std::vector<RowsStep> rows);
  ~MergedTensor();

  // Fills `out` from byte `at`; both are at element boundaries. `losses`, which may be null, gets those of the base.
  // Thread safe. Throws kIo, and kMalformed for factors that hold NaN or infinity.
  void read(std::uint64_t at, std::span<std::byte> out, CastReport* losses);

  // What that reads.
  [[nodiscard]] std::vector<std::pair<const Weights*, Tensor>> reads() const;

 private:
  struct Factors;
  std::shared_ptr<const Factors> factors_of(std::size_t step);
  static Factors arrange(const MergeStep& step);
  void measure_magnitudes(const MergeStep& step, Factors& factors) const;
  void add_steps(std::uint64_t first, std::span<float> values);
  void replace_rows(std::uint64_t first, std::span<float> values);
  void decode_base(std::uint64_t first, std::span<float> values, CastReport* losses) const;

  const Weights& base_;
  Tensor tensor_;
  std::uint64_t columns_;
  std::vector<MergeStep> steps_;
  std::vector<RowsStep> rows_;
  std::mutex mutex_;  // guards factors_
  std::vector<std::weak_ptr<const Factors>> factors_;
};

}  // namespace mu
