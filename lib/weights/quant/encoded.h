// SPDX-License-Identifier: Apache-2.0
// One plain weight that is to be quantised, and how far its values move when it is. Each family of schemes has a file
// that makes tensors of it (encode_fp8.h, encode_fp4.h), whose bytes are computed as they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/tensor.h"

namespace mu {

// How far the values of a weight move, found while its codes are made. Thread safe.
class QuantError {
 public:
  explicit QuantError(std::uint64_t elements) : missing_(elements) {}

  // Neighbouring elements from `first` on: what they were, and what they are when made plain again.
  struct Piece {
    std::uint64_t first, count = 0;
    double squares = 0, difference = 0, largest = 0;

    void add(std::span<const float> plain, std::span<const float> again);
  };
  // Once all elements have been seen, what is read again counts no more.
  void add(const Piece& piece);

  struct Result {
    double largest;   // |x - x'|
    double relative;  // the norm of the difference over that of the weight; 0 if both are 0
  };
  // Nothing until every element has been seen. The same for any number of threads.
  [[nodiscard]] std::optional<Result> result() const;
  // All of it as one piece, which another process can add; nothing until then.
  [[nodiscard]] std::optional<Piece> sum() const;

 private:
  mutable std::mutex mutex_;
  std::uint64_t missing_;
  std::vector<Piece> pieces_;  // when nothing is missing, one for all
};

struct PlainModule {
  std::string name;                     // "model.layers.0.mlp.up_proj"
  Tensor weight;                        // [rows, columns] of bf16, f16 or f32
  std::shared_ptr<QuantError> error{};  // null: nobody wants to know
};

// The largest magnitude in `values`. Throws kMalformed, naming the weight, if one is NaN or infinite.
float largest_magnitude(std::span<const float> values, const Tensor& weight);
Error not_finite(const Tensor& weight);

}  // namespace mu
