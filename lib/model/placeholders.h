// SPDX-License-Identifier: Apache-2.0
// What ZeRO stage 3 leaves in the place of weights that the ranks hold: tensors of shape [0]. Small ones may
// be whole nevertheless (stage3_param_persistence_threshold).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace mu {

// Counts them in a list of tensors.
class Placeholders {
 public:
  Placeholders() = default;
  explicit Placeholders(const std::vector<Tensor>& tensors) {
    for (const Tensor& tensor : tensors) add(tensor);
  }

  void add(const Tensor& tensor);
  // True if the empty tensors stand for weights: all are empty, or one whose name ends in ".weight" is, which
  // a weight never is. Other tensors may be empty for reasons of their own.
  [[nodiscard]] bool found() const { return tensors_ > 0 && (empty_ == tensors_ || empty_weight_); }
  // "3 of 20 tensors have shape [0]"
  [[nodiscard]] std::string text() const;

 private:
  std::uint64_t empty_ = 0, tensors_ = 0;
  bool empty_weight_ = false;
};

// Throws kMalformed if there are some; `input` is what messages call the model.
void require_no_placeholders(const Placeholders& placeholders, const std::string& input);

}  // namespace mu
