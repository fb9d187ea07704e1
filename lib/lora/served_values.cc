// SPDX-License-Identifier: Apache-2.0
#include "lora/served_values.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "tensor/cast.h"
#include "tensor/decode.h"
#include "weights/computed.h"
#include "weights/contents.h"
#include "weights/views.h"

namespace mu {

Tensor zeros(const Tensor& like, std::vector<std::uint64_t> shape) {
  return computed(like.name, like.dtype, std::move(shape), {like},
                  [](const Sources&, std::uint64_t, std::span<std::byte> out) {
                    std::fill(out.begin(), out.end(), std::byte{0});
                  });
}

FactorPair zero_pair(const FactorPair& like, std::uint64_t in, std::uint64_t out, std::uint64_t experts) {
  const std::uint64_t width = like.rank * experts;
  return {zeros(like.a, {width, in}), zeros(like.b, {out, width}), like.rank, like.alpha};
}

FactorPair padded(const FactorPair& pair, std::uint64_t rank) {
  if (pair.rank == rank) return pair;
  const std::uint64_t more = rank - pair.rank;
  const std::array<Tensor, 2> a = {pair.a, zeros(pair.a, {more, pair.a.shape[1]})};
  const std::array<Tensor, 2> b = {pair.b, zeros(pair.b, {pair.b.shape[0], more})};
  return {concatenate(a, 0), concatenate(b, 1), rank, pair.alpha};
}

Tensor times(const Tensor& tensor, double factor) {
  return computed(tensor.name, tensor.dtype, tensor.shape, {tensor},
                  [dtype = tensor.dtype, factor = static_cast<float>(factor)](
                      const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                    sources.read(0, at, out);
                    std::vector<float> values(value_count(dtype, out.size()));
                    decode(dtype, out, std::span(values));
                    for (float& value : values) value *= factor;
                    CastReport report;
                    cast(Dtype::kF32, dtype, std::as_bytes(std::span(values)), out, report);
                  });
}

bool is_zero(const Weights& weights, const FactorPair& pair) {
  return is_zero(weights, pair.b) && is_zero(weights, pair.a);
}

}  // namespace mu
