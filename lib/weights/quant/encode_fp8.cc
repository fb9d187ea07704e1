// SPDX-License-Identifier: Apache-2.0
// A weight is seen as strips: so many whole rows that a strip holds about as many elements as one piece of work, or
// the 128 rows of a block. What a strip's scales are made of, the largest magnitude of each block in it, is found in
// one pass and kept for a while (MagnitudeCache). A row is a block of 1 x columns.
//
// llm-compressor: s = D(largest / 448), code = e4m3(clamp(D(w / s))), where D rounds to the weight's own type.
// transformers: S = 448 * (1 / largest), code = e4m3(clamp(w * S)), and 1 / S is stored.
#include "weights/quant/encode_fp8.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "base/text.h"
#include "tensor/cast.h"
#include "tensor/decode.h"
#include "tensor/simd.h"
#include "weights/computed.h"
#include "weights/quant/rounding.h"

namespace mu {
namespace {

constexpr float kLargest = 448;                       // of E4M3
constexpr std::uint64_t kStripElements = 256U << 10;  // of rows
constexpr std::size_t kRun = 2048;                    // values worked on at once, in the nearest cache

float clamped(float x) {
  const float low = x > kLargest ? kLargest : x;
  return low < -kLargest ? -kLargest : low;
}

MU_SIMD void divide_bf16(const float* x, std::size_t count, float scale, std::byte* out) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + i,
             f32_to_f8<kE4M3>(std::bit_cast<std::uint32_t>(clamped(RoundedBF16::round(x[i] / scale)))));
}

MU_SIMD void divide_f16(const float* x, std::size_t count, float scale, std::byte* out) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + i,
             f32_to_f8<kE4M3>(std::bit_cast<std::uint32_t>(clamped(RoundedF16::round(x[i] / scale)))));
}

MU_SIMD void divide_f32(const float* x, std::size_t count, float scale, std::byte* out) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + i, f32_to_f8<kE4M3>(std::bit_cast<std::uint32_t>(clamped(x[i] / scale))));
}

MU_SIMD void multiply(const float* x, std::size_t count, float scale, std::byte* out) {
  for (std::size_t i = 0; i < count; ++i)
    store_le(out + i, f32_to_f8<kE4M3>(std::bit_cast<std::uint32_t>(clamped(x[i] * scale))));
}

class Fp8Weight {
 public:
  Fp8Weight(const PlainModule& module, Fp8Scales scales, std::shared_ptr<MagnitudeCache> cache)
      : weight_(module.weight), scales_(scales), cache_(std::move(cache)), error_(module.error) {
    number_ = cache_->number_of_weight();
    rows_ = weight_.shape[0];
    columns_ = weight_.shape[1];
    element_ = bits(weight_.dtype) / 8;
    const bool blocks = scales_ != Fp8Scales::kRows;
    block_rows_ = blocks ? kFp8Block : 1;
    block_columns_ = blocks ? kFp8Block : columns_;
    strip_rows_ = blocks ? kFp8Block : std::max<std::uint64_t>(1, kStripElements / columns_);
    across_ = (columns_ + block_columns_ - 1) / block_columns_;
  }

  [[nodiscard]] std::vector<std::uint64_t> grid() const {
    return {(rows_ + block_rows_ - 1) / block_rows_, across_};
  }
  [[nodiscard]] Dtype scale_dtype() const {
    return scales_ == Fp8Scales::kFactor ? Dtype::kF32 : weight_.dtype;
  }

  // Codes [first, first + out.size()).
  void read_codes(const Sources& sources, std::uint64_t first, std::span<std::byte> out) const {
    thread_local std::vector<std::byte> bytes;
    bytes.resize(out.size() * element_);
    sources.read(0, first * element_, bytes);
    const std::uint64_t last = first + out.size();
    QuantError::Piece moved{.first = first};
    for (std::uint64_t at = first; at < last;) {
      const std::uint64_t strip = at / (strip_rows_ * columns_);
      const std::uint64_t end = std::min(last, (strip + 1) * strip_rows_ * columns_);
      const MagnitudeCache::Values largest = magnitudes(sources, strip);
      for (; at < end;) {
        const Run run = run_at(at, end);
        encode(run, std::span(bytes).subspan((at - first) * element_, run.size * element_),
               (*largest)[run.block], out.subspan(at - first, run.size), moved);
        at += run.size;
      }
    }
    if (error_) error_->add(moved);
  }

  // Scales from byte `at`.
  void read_scales(const Sources& sources, std::uint64_t at, std::span<std::byte> out) const {
    const std::uint64_t size = bits(scale_dtype()) / 8;
    const std::uint64_t first = at / size, last = first + out.size() / size;
    const std::uint64_t in_strip = strip_rows_ / block_rows_ * across_;
    std::vector<float> values;
    values.reserve(last - first);
    for (std::uint64_t i = first; i < last;) {
      const std::uint64_t strip = i / in_strip, end = std::min(last, (strip + 1) * in_strip);
      const MagnitudeCache::Values largest = magnitudes(sources, strip);
      for (; i < end; ++i) values.push_back(stored_scale((*largest)[i - strip * in_strip]));
    }
    CastReport unused;
    cast(Dtype::kF32, scale_dtype(), std::as_bytes(std::span(values)), out, unused);
  }

 private:
  // Neighbours in a row that are of one block.
  struct Run {
    std::uint64_t size;
    std::size_t block;  // in its strip
  };

  [[nodiscard]] Run run_at(std::uint64_t at, std::uint64_t end) const {
    const std::uint64_t row = at / columns_, column = at % columns_, across = column / block_columns_;
    const std::uint64_t block_end = std::min(columns_, (across + 1) * block_columns_);
    const std::uint64_t size = std::min({block_end - column, end - at, std::uint64_t{kRun}});
    return {size, static_cast<std::size_t>(row % strip_rows_ / block_rows_ * across_ + across)};
  }

  [[nodiscard]] MagnitudeCache::Values magnitudes(const Sources& sources, std::uint64_t strip) const {
    return cache_->get(number_, strip, [&] { return find_magnitudes(sources.only_looked_at(), strip); });
  }

  [[nodiscard]] std::vector<float> find_magnitudes(const Sources& sources, std::uint64_t strip) const {
    const std::uint64_t first_row = strip * strip_rows_, last_row = std::min(rows_, first_row + strip_rows_);
    const std::uint64_t blocks = (last_row - first_row + block_rows_ - 1) / block_rows_ * across_;
    std::vector<float> largest(static_cast<std::size_t>(blocks), 0.0F);
    const std::uint64_t last = last_row * columns_;
    thread_local std::vector<std::byte> bytes;
    for (std::uint64_t from = first_row * columns_; from < last; from += kStripElements) {
      const std::uint64_t end = std::min(last, from + kStripElements);
      bytes.resize(static_cast<std::size_t>((end - from) * element_));
      sources.read(0, from * element_, bytes);
      for (std::uint64_t at = from; at < end;) {
        const Run run = run_at(at, end);
        std::array<float, kRun> block;
        const std::span<float> values = std::span(block).first(run.size);
        decode(weight_.dtype, std::span(bytes).subspan((at - from) * element_, run.size * element_), values);
        largest[run.block] = std::max(largest[run.block], largest_magnitude(values, weight_));
        at += run.size;
      }
    }
    return largest;
  }

  // What weights are multiplied by, in transformers' dialect.
  [[nodiscard]] float factor(float largest) const {
    const float factor = largest > 0 ? kLargest * (1.0F / largest) : 1.0F;  // as torch divides a number
    if (factor <= std::numeric_limits<float>::max()) return factor;
    throw refused(fmt::format("'{}' has a block of values so small that no scale in fp32 fits them",
                              escape_name(weight_.name)))
        .hint("--keep leaves a module as it is");
  }

  // What is stored, before it is rounded to the type of the scales.
  [[nodiscard]] float stored_scale(float largest) const {
    if (scales_ == Fp8Scales::kFactor) return 1.0F / factor(largest);
    return with_rounding(weight_.dtype, [&](auto type) {
      const float scale = type.round(largest / kLargest);
      return scale == 0 ? type.kEpsilon : scale;
    });
  }

  void encode(const Run& run, std::span<const std::byte> bytes, float largest, std::span<std::byte> out,
              QuantError::Piece& moved) const {
    alignas(64) std::array<float, kRun> block;
    const std::span<float> values = std::span(block).first(run.size);
    decode(weight_.dtype, bytes, values);
    const float stored = stored_scale(largest);
    if (scales_ == Fp8Scales::kFactor) {
      multiply(values.data(), values.size(), factor(largest), out.data());
    } else {
      const auto divide = weight_.dtype == Dtype::kBF16  ? divide_bf16
                          : weight_.dtype == Dtype::kF16 ? divide_f16
                                                         : divide_f32;
      divide(values.data(), values.size(), stored, out.data());
    }
    if (!error_) return;
    std::array<float, kRun> again;
    decode(Dtype::kF8E4M3, out, std::span(again).first(run.size));
    for (float& value : std::span(again).first(run.size)) value *= stored;
    moved.add(values, std::span(again).first(run.size));
  }

  Tensor weight_;
  Fp8Scales scales_;
  std::shared_ptr<MagnitudeCache> cache_;
  std::shared_ptr<QuantError> error_;
  std::uint64_t number_ = 0;  // in the cache
  std::uint64_t rows_ = 0, columns_ = 0, element_ = 0;
  std::uint64_t block_rows_ = 0, block_columns_ = 0, strip_rows_ = 0;
  std::uint64_t across_ = 0;  // blocks side by side
};

}  // namespace

std::vector<Tensor> encode_fp8(const PlainModule& module, Fp8Scales scales,
                               std::shared_ptr<MagnitudeCache> cache) {
  const auto weight = std::make_shared<const Fp8Weight>(module, scales, std::move(cache));
  const std::string_view ending = scales == Fp8Scales::kFactor ? ".weight_scale_inv" : ".weight_scale";
  std::vector<Tensor> made;
  made.push_back(computed(module.name + ".weight", Dtype::kF8E4M3, module.weight.shape, {module.weight},
                          [weight](const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                            weight->read_codes(sources, at, out);
                          }));
  made.push_back(computed(module.name + std::string(ending), weight->scale_dtype(), weight->grid(),
                          {module.weight},
                          [weight](const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                            weight->read_scales(sources, at, out);
                          }));
  return made;
}

}  // namespace mu
