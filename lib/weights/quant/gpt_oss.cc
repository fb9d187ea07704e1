// SPDX-License-Identifier: Apache-2.0
// Blocks and scales are read transposed, with all experts one below the other: row k of the plain tensor needs row
// k / 2 of the bytes and row k / 32 of the scales. One row of bytes is spread over all that is stored of an expert,
// which would be read again for every few rows; so many rows are read at once (strips.h).
#include "weights/quant/gpt_oss.h"

#include <fmt/format.h>

#include <bit>
#include <memory>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "tensor/simd.h"
#include "weights/quant/e2m1.h"
#include "weights/quant/strips.h"
#include "weights/views.h"

namespace mu {
namespace {

constexpr std::uint64_t kBlock = 32;  // values that share a scale

// 2^(byte - 128), which a float has for every byte; 2^(byte - 127) is infinite for the last one, whose product with 0
// and 0.5 is not.
inline float half_scale(std::uint32_t byte) {
  const std::uint32_t subnormal = byte == 0 ? 0x00200000U : 0x00400000U;
  return std::bit_cast<float>(byte < 2 ? subnormal : (byte - 1U) << 23U);
}

// Values of one row, each from the nibble at `shift` of its byte, and with a scale of its own.
MU_SIMD void expand(const std::byte* packed, const std::byte* scales, unsigned shift, std::size_t count,
                    float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t nibble = std::to_integer<std::uint32_t>(packed[i]) >> shift & 15U;
    out[i] = 2.0F * e2m1_to_f32(nibble) * half_scale(std::to_integer<std::uint32_t>(scales[i]));
  }
}

// Elements [first, first + out.size()) of all experts, in rows of `columns`. A unit of the strips is what shares a row of scales.
void fill(Strips& strips, std::uint64_t columns, const Sources& sources, std::uint64_t first,
          std::span<float> out) {
  while (!out.empty()) {
    const std::uint64_t row = first / columns, column = first % columns;
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), columns - column));
    const std::shared_ptr<const Strips::Strip> strip = strips.around(sources, row / kBlock);
    const std::uint64_t in_strip = row - strip->first * kBlock;
    expand(strip->bytes[0].data() + in_strip / 2 * columns + column,
           strip->bytes[1].data() + in_strip / kBlock * columns + column, row % 2 == 0 ? 0 : 4, count,
           out.data());
    out = out.subspan(count);
    first += count;
  }
}

}  // namespace

PlainWeight plain_gpt_oss(const StoredWeight& stored, const QuantContext&) {
  constexpr std::string_view kEnding = "_blocks";
  const Tensor& blocks = *stored.weight;
  if (!blocks.name.ends_with(kEnding) || blocks.name.size() < stored.module.size() + kEnding.size())
    throw malformed(fmt::format("'{}' is not the blocks of a weight", escape_name(blocks.name)));
  const std::string plain = blocks.name.substr(0, blocks.name.size() - kEnding.size());
  const Tensor& scales = stored.require(plain.substr(stored.module.size()) + "_scales");
  for (const Tensor* tensor : {&blocks, &scales}) {
    if (tensor->dtype != Dtype::kU8)
      throw malformed(fmt::format("'{}' is {}, not U8", escape_name(tensor->name), type_name(*tensor)));
  }
  const std::vector<std::uint64_t>& shape = blocks.shape;
  if (shape.size() != 4 || shape[3] != kBlock / 2)
    throw malformed(fmt::format("'{}' {} is not [experts, rows, groups, 16]", escape_name(blocks.name),
                                shape_text(shape)));
  if (scales.shape != std::vector<std::uint64_t>(shape.begin(), shape.end() - 1))
    throw malformed(fmt::format("the scales '{}' {} don't fit '{}' {}", escape_name(scales.name),
                                shape_text(scales.shape), escape_name(blocks.name), shape_text(shape)));
  const std::optional<std::uint64_t> inputs = checked_mul(shape[2], kBlock);
  if (!inputs || shape[1] > Strips::kLargestUnit / (kBlock / 2 + 1))
    throw malformed(
        fmt::format("'{}' {} is larger than any model needs", escape_name(blocks.name), shape_text(shape)));
  std::vector<Tensor> sources{transpose(reshape(blocks, {shape[0], shape[1], *inputs / 2}), 1, 2),
                              transpose(scales, 1, 2)};
  const std::uint64_t columns = shape[1];
  auto strips = std::make_shared<Strips>(shape[0] * shape[2],
                                         std::vector<std::uint64_t>{kBlock / 2 * columns, columns});
  return {
      plain,
      {shape[0], *inputs, columns},
      std::move(sources),
      [strips = std::move(strips), columns](const Sources& from, std::uint64_t first, std::span<float> out) {
        fill(*strips, columns, from, first, out);
      }};
}

}  // namespace mu
