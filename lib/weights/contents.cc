// SPDX-License-Identifier: Apache-2.0
#include "weights/contents.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "os/interrupt.h"
#include "tensor/decode.h"
#include "weights/layout.h"

namespace mu {

bool equal_bytes(const Weights& weights_a, const Tensor& a, const Weights& weights_b, const Tensor& b,
                 std::uint64_t limit) {
  if (a.dtype != b.dtype || type_text(a) != type_text(b) || a.shape != b.shape || a.size != b.size)
    return false;
  constexpr std::uint64_t kPiece = 1U << 20;  // bytes
  thread_local std::vector<std::byte> left, right;
  const std::uint64_t end = std::min(a.size, limit);
  for (std::uint64_t at = 0; at < end; at += kPiece) {
    check_interrupt();
    left.resize(static_cast<std::size_t>(std::min(kPiece, end - at)));
    right.resize(left.size());
    weights_a.read(a, at, left);
    weights_b.read(b, at, right);
    if (std::memcmp(left.data(), right.data(), left.size()) != 0) return false;
  }
  return true;
}

bool is_zero(const Weights& weights, const Tensor& tensor) {
  constexpr std::uint64_t kFirst = 64U << 10, kPiece = 256U << 10;  // bytes: most tensors show at once
  const bool has_values = tensor.dtype != Dtype::kForeign && can_decode(tensor.dtype);
  std::vector<std::byte> bytes;
  std::vector<double> values;
  for (std::uint64_t at = 0; at < tensor.size; at += bytes.size()) {
    check_interrupt();
    bytes.resize(static_cast<std::size_t>(std::min(at == 0 ? kFirst : kPiece, tensor.size - at)));
    weights.read(tensor, at, bytes);
    if (has_values) {
      values.resize(value_count(tensor.dtype, bytes.size()));
      decode(tensor.dtype, bytes, std::span(values));
      if (std::any_of(values.begin(), values.end(), [](double value) { return value != 0; })) return false;
    } else if (std::any_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte != std::byte{0}; })) {
      return false;
    }
  }
  return true;
}

}  // namespace mu
