// SPDX-License-Identifier: Apache-2.0
#include "lora/served_values.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "tensor/cast.h"
#include "tensor/decode.h"
#include "weights/contents.h"
#include "weights/layout.h"
#include "weights/views.h"

namespace mu {
namespace {

Tensor computed(const Tensor& like, std::vector<std::uint64_t> shape,
                std::function<void(std::uint64_t, std::span<std::byte>)> compute) {
  auto layout = std::make_shared<Layout>();
  layout->compute = std::move(compute);
  const std::uint64_t count = element_count(shape).value_or(0);
  return {.name = like.name,
          .dtype = like.dtype,
          .shape = std::move(shape),
          .source = like.source,
          .offset = 0,
          .size = count * bits(like.dtype) / 8,
          .layout = std::move(layout)};
}

}  // namespace

Tensor zeros(const Tensor& like, std::vector<std::uint64_t> shape) {
  return computed(like, std::move(shape), [](std::uint64_t, std::span<std::byte> out) {
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

ServedValues::ServedValues(const Weights& weights) {
  auto files = std::make_shared<Weights>();
  files->files = weights.files;
  weights_ = std::move(files);
}

Tensor ServedValues::times(const Tensor& tensor, double factor) const {
  return computed(tensor, tensor.shape,
                  [weights = weights_, tensor, factor = static_cast<float>(factor)](
                      std::uint64_t at, std::span<std::byte> out) {
                    weights->read(tensor, at, out);
                    std::vector<float> values(value_count(tensor.dtype, out.size()));
                    decode(tensor.dtype, out, std::span(values));
                    for (float& value : values) value *= factor;
                    CastReport report;
                    cast(Dtype::kF32, tensor.dtype, std::as_bytes(std::span(values)), out, report);
                  });
}

bool ServedValues::is_zero(const FactorPair& pair) const {
  return mu::is_zero(*weights_, pair.b) && mu::is_zero(*weights_, pair.a);
}

bool ServedValues::are_equal(const Tensor& a, const Tensor& b) const {
  return equal_bytes(*weights_, a, *weights_, b);
}

}  // namespace mu
