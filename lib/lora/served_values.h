// SPDX-License-Identifier: Apache-2.0
// The few tensors of an adapter for a server that are not views of tensors that are there: zeros, and products with a
// number. And the few questions about values that decide its form.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lora/served_pairs.h"
#include "weights/weights.h"

namespace mu {

class ServedValues {
 public:
  // Keeps the files of `weights` open.
  explicit ServedValues(const Weights& weights);

  // Computed while they are read.
  [[nodiscard]] static Tensor zeros(const Tensor& like, std::vector<std::uint64_t> shape);
  [[nodiscard]] Tensor times(const Tensor& tensor, double factor) const;  // in fp32, rounded once
  // Rank 0 or more zeros at the end of the rank of A and of B.
  [[nodiscard]] static FactorPair padded(const FactorPair& pair, std::uint64_t rank);
  [[nodiscard]] static FactorPair zero_pair(const FactorPair& like, std::uint64_t in, std::uint64_t out);

  // These read.
  [[nodiscard]] bool is_zero(const Tensor& tensor) const;
  [[nodiscard]] bool is_zero(
      const FactorPair& pair) const;  // both factors: training never leaves such a pair
  [[nodiscard]] bool are_equal(const Tensor& a, const Tensor& b) const;

 private:
  std::shared_ptr<const Weights> weights_;
};

}  // namespace mu
