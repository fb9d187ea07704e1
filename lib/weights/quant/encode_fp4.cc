// SPDX-License-Identifier: Apache-2.0
// Rows are whole groups, so that a weight is one run of groups. A stretch of codes or of scales is read as the groups
// around it, some thousand values at a time: of each group the largest magnitude, of that the scale, of both the codes.
// D below rounds to the weight's own type.
//
// MXFP4: the scale is a power of two, made of the bits of the largest magnitude: from 1.75 * 2^k on, it is that of
// 2^(k + 1). Code = E2M1(clamp(D(w / scale))).
// NVFP4: g = D(448 * 6 * D(1 / the largest magnitude of the set)), s = e4m3(g * D(largest / 6)), code = E2M1(clamp(w / (s / g))).
#include "weights/quant/encode_fp4.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "base/bytes.h"
#include "base/text.h"
#include "tensor/decode.h"
#include "tensor/simd.h"
#include "weights/computed.h"
#include "weights/quant/rounding.h"

namespace mu {
namespace {

constexpr std::size_t kRun = 2048;                   // values worked on at once; whole groups of either kind
constexpr std::uint64_t kReadElements = 256U << 10;  // read at once

// Magnitudes between two codes go to the even one.
std::uint8_t e2m1(float x) {
  const float a = x < 0 ? -x : x;
  const int code =
      (a > 0.25F) + (a >= 0.75F) + (a > 1.25F) + (a >= 1.75F) + (a > 2.5F) + (a >= 3.5F) + (a > 5.0F);
  return static_cast<std::uint8_t>(code | (x < 0 ? 8 : 0));  // -0 is 0, but what rounds to 0 keeps its sign
}

// What a family makes of the largest magnitude of a group.
struct Scaled {
  std::uint8_t stored;  // the scale, as the file has it
  float scale;          // what weights are divided by
};

// The largest magnitudes of groups, as bits: those of infinity and NaN come after all others.
template <std::size_t kGroup>
void find_largest(const float* x, std::size_t groups, std::uint32_t* out) {
  for (std::size_t g = 0; g < groups; ++g, x += kGroup) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < kGroup; ++i) {
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFU;
      largest = bits > largest ? bits : largest;
    }
    out[g] = largest;
  }
}
MU_SIMD void largest_of_32(const float* x, std::size_t groups, std::uint32_t* out) {
  find_largest<kMxGroup>(x, groups, out);
}
MU_SIMD void largest_of_16(const float* x, std::size_t groups, std::uint32_t* out) {
  find_largest<kNvGroup>(x, groups, out);
}

// Codes of groups, one a byte. (Pointers, since clang leaves out what spans need in a function that is compiled twice.) The scale of MXFP4 is a power of two, and so is its inverse: a product is the quotient.
template <typename Type>
void multiply(const float* x, const Scaled* scales, std::size_t groups, std::uint8_t* out) {
  for (std::size_t g = 0; g < groups; ++g) {
    const float factor = 1.0F / scales[g].scale;
    for (std::size_t i = 0; i < kMxGroup; ++i) out[i] = e2m1(Type::round(x[i] * factor));
    x += kMxGroup;
    out += kMxGroup;
  }
}
MU_SIMD void mx_bf16(const float* x, const Scaled* scales, std::size_t groups, std::uint8_t* out) {
  multiply<RoundedBF16>(x, scales, groups, out);
}
MU_SIMD void mx_f16(const float* x, const Scaled* scales, std::size_t groups, std::uint8_t* out) {
  multiply<RoundedF16>(x, scales, groups, out);
}
MU_SIMD void mx_f32(const float* x, const Scaled* scales, std::size_t groups, std::uint8_t* out) {
  multiply<RoundedF32>(x, scales, groups, out);
}
MU_SIMD void nv_codes(const float* x, const Scaled* scales, std::size_t groups, std::uint8_t* out) {
  for (std::size_t g = 0; g < groups; ++g) {
    for (std::size_t i = 0; i < kNvGroup; ++i) out[i] = e2m1(x[i] / scales[g].scale);
    x += kNvGroup;
    out += kNvGroup;
  }
}

// Two codes a byte, the first in the low half.
MU_SIMD void pack(const std::uint8_t* codes, std::size_t bytes, std::byte* out) {
  for (std::size_t i = 0; i < bytes; ++i) {
    const auto pair = load_le<std::uint16_t>(reinterpret_cast<const std::byte*>(codes) + 2 * i);
    out[i] = static_cast<std::byte>(pair | (pair >> 4));
  }
}

Error too_large(const Tensor& weight) {
  const bool half = weight.dtype == Dtype::kF16;
  return refused(fmt::format("'{}' holds values too large for the scales of MXFP4", escape_name(weight.name)))
      .hint(half ? "--keep leaves a module as it is; --dtype bf16 has room for them"
                 : "--keep leaves a module as it is");
}

// The scale of a group by its largest magnitude, as an exponent: 2^(stored - 127).
Scaled mx_scale(float largest, const Tensor& weight) {
  if (weight.dtype == Dtype::kF16) {
    const std::uint32_t half = f32_to_f16(std::bit_cast<std::uint32_t>(largest));
    const std::uint32_t exponent = (half + 0x100U) >> 10;
    if (exponent >= 0x1F) throw too_large(weight);
    // 2^-127 is 0 in f16, and 1 stands for that.
    const std::uint32_t stored = exponent == 0 ? 127 : exponent + 110;
    return {static_cast<std::uint8_t>(stored), std::bit_cast<float>(stored << 23)};
  }
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(largest) + 0x200000U) >> 23;
  if (exponent >= 0xFF) throw too_large(weight);
  const auto stored = static_cast<std::uint8_t>(exponent < 2 ? 0 : exponent - 2);
  return {stored, std::bit_cast<float>(e8m0_to_f32(stored))};
}

// The scale that a set shares, by its largest magnitude and the type that holds all of its weights.
float nv_global(float largest, Dtype dtype) {
  return with_rounding(dtype, [&](auto type) {
    const float scale = type.round(2688.0F * type.round(1.0F / std::max(largest, type.kTiny)));
    return scale <= std::numeric_limits<float>::max() ? scale : 1.0F;
  });
}

Scaled nv_scale(float largest, float global, Dtype dtype) {
  const float sixth = with_rounding(dtype, [&](auto type) { return type.round(largest / 6.0F); });
  const float scale = std::min(global * sixth, 448.0F);
  std::uint8_t stored = f32_to_f8<kE4M3>(std::bit_cast<std::uint32_t>(scale));
  if (stored == 0) stored = 0x20;  // 0.125
  return {stored, f8_to_f32(kE4M3, stored) / global};
}

// How a family makes scales and codes.
struct Family {
  std::uint64_t group;
  void (*find_largest)(const float* x, std::size_t groups, std::uint32_t* out);
  void (*make_codes)(const float* x, const Scaled* scales, std::size_t groups, std::uint8_t* out);
  // By the largest magnitude of a group and what is shared with others.
  Scaled (*find_scale)(float largest, float shared, const Tensor& weight);
  // What the scales of the whole set have in common; empty: nothing.
  std::function<float(const Sources&)> shared{};
};

class Fp4Weight {
 public:
  Fp4Weight(const PlainModule& module, std::size_t source, Family family)
      : weight_(module.weight), error_(module.error), source_(source), family_(std::move(family)) {}

  [[nodiscard]] float shared(const Sources& sources) const {
    return family_.shared ? family_.shared(sources.only_looked_at()) : 1.0F;
  }

  void read_codes(const Sources& sources, std::uint64_t at, std::span<std::byte> out) const {
    const std::uint64_t bytes = family_.group / 2;  // of the codes of a group
    QuantError::Piece moved{.first = 2 * at};
    const auto use = [&](std::uint64_t group, std::span<const float> values, std::span<const Scaled> scales) {
      std::array<std::uint8_t, kRun> codes;
      std::array<std::byte, kRun / 2> packed;
      family_.make_codes(values.data(), scales.data(), scales.size(), codes.data());
      pack(codes.data(), values.size() / 2, packed.data());
      if (error_) add_error(moved, values, packed, scales);
      const std::uint64_t begin = group * bytes, end = begin + values.size() / 2;
      const std::uint64_t from = std::max(begin, at), to = std::min(end, at + out.size());
      std::memcpy(out.data() + (from - at), packed.data() + (from - begin),
                  static_cast<std::size_t>(to - from));
    };
    each_run(sources, at / bytes, (at + out.size() + bytes - 1) / bytes, use);
    if (error_ && moved.count == 2 * out.size()) error_->add(moved);
  }

  void read_scales(const Sources& sources, std::uint64_t at, std::span<std::byte> out) const {
    const auto use = [&](std::uint64_t group, std::span<const float>, std::span<const Scaled> scales) {
      for (std::size_t i = 0; i < scales.size(); ++i)
        out[group - at + i] = static_cast<std::byte>(scales[i].stored);
    };
    each_run(sources.only_looked_at(), at, at + out.size(), use);
  }

 private:
  // Calls use(number of the first group, values, scales) for groups [first, last), a run at a time.
  template <typename Use>
  void each_run(const Sources& sources, std::uint64_t first, std::uint64_t last, const Use& use) const {
    const std::uint64_t size = family_.group * (bits(weight_.dtype) / 8),
                        at_once = kReadElements / family_.group;
    const float common = shared(sources);
    thread_local std::vector<std::byte> bytes;
    alignas(64) std::array<float, kRun> block;
    std::array<Scaled, kRun / kNvGroup> scales;
    for (std::uint64_t from = first; from < last; from += at_once) {
      const std::uint64_t end = std::min(last, from + at_once);
      bytes.resize(static_cast<std::size_t>((end - from) * size));
      sources.read(source_, from * size, bytes);
      for (std::uint64_t group = from; group < end;) {
        const std::uint64_t groups = std::min(end - group, kRun / family_.group);
        const std::span<float> values = std::span(block).first(groups * family_.group);
        decode(weight_.dtype, std::span(bytes).subspan((group - from) * size, groups * size), values);
        const std::span<Scaled> found = std::span(scales).first(groups);
        find_scales(values, common, found);
        use(group, std::span<const float>(values), std::span<const Scaled>(found));
        group += groups;
      }
    }
  }

  void find_scales(std::span<const float> values, float common, std::span<Scaled> scales) const {
    std::array<std::uint32_t, kRun / kNvGroup> largest;
    family_.find_largest(values.data(), scales.size(), largest.data());
    for (std::size_t i = 0; i < scales.size(); ++i) {
      if (largest[i] >= 0x7F800000U) throw not_finite(weight_);
      scales[i] = family_.find_scale(std::bit_cast<float>(largest[i]), common, weight_);
    }
  }

  void add_error(QuantError::Piece& moved, std::span<const float> values, std::span<const std::byte> packed,
                 std::span<const Scaled> scales) const {
    std::array<float, kRun> again;
    decode(Dtype::kF4, packed.first(values.size() / 2), std::span(again).first(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) again[i] *= scales[i / family_.group].scale;
    moved.add(values, std::span(again).first(values.size()));
  }

  Tensor weight_;
  std::shared_ptr<QuantError> error_;
  std::size_t source_;
  Family family_;
};

Family mx_family(Dtype dtype) {
  return {kMxGroup, largest_of_32,
          dtype == Dtype::kBF16  ? mx_bf16
          : dtype == Dtype::kF16 ? mx_f16
                                 : mx_f32,
          [](float largest, float, const Tensor& weight) { return mx_scale(largest, weight); }};
}

Family nv_family(std::span<const PlainModule> set, std::shared_ptr<SharedMagnitude> shared) {
  Dtype dtype = set.front().weight.dtype;  // that holds the values of all
  for (const PlainModule& module : set) {
    if (module.weight.dtype != dtype) dtype = Dtype::kF32;
  }
  return {kNvGroup, largest_of_16, nv_codes,
          [](float largest, float common, const Tensor& weight) {
            return nv_scale(largest, common, weight.dtype);
          },
          [dtype, count = set.size(), shared = std::move(shared)](const Sources& sources) {
            return nv_global(shared->get(sources, count), dtype);
          }};
}

std::vector<Tensor> tensors_of(const PlainModule& module, const std::vector<Tensor>& sources,
                               const std::shared_ptr<const Fp4Weight>& weight, Dtype scales,
                               std::uint64_t group) {
  const std::uint64_t rows = module.weight.shape[0], columns = module.weight.shape[1];
  std::vector<Tensor> made;
  made.push_back(computed(module.name + ".weight_packed", Dtype::kU8, {rows, columns / 2}, sources,
                          [weight](const Sources& from, std::uint64_t at, std::span<std::byte> out) {
                            weight->read_codes(from, at, out);
                          }));
  made.push_back(computed(module.name + ".weight_scale", scales, {rows, columns / group}, sources,
                          [weight](const Sources& from, std::uint64_t at, std::span<std::byte> out) {
                            weight->read_scales(from, at, out);
                          }));
  return made;
}

}  // namespace

std::vector<Tensor> encode_mxfp4(const PlainModule& module) {
  const auto weight = std::make_shared<const Fp4Weight>(module, 0, mx_family(module.weight.dtype));
  return tensors_of(module, {module.weight}, weight, Dtype::kU8, kMxGroup);
}

std::vector<Tensor> encode_nvfp4(std::span<const PlainModule> set, std::size_t which,
                                 std::shared_ptr<SharedMagnitude> shared) {
  std::vector<Tensor> sources;
  for (const PlainModule& module : set) sources.push_back(module.weight);
  const auto weight = std::make_shared<const Fp4Weight>(set[which], which, nv_family(set, std::move(shared)));
  std::vector<Tensor> made = tensors_of(set[which], sources, weight, Dtype::kF8E4M3, kNvGroup);
  made.push_back(computed(set[which].name + ".weight_global_scale", Dtype::kF32, {1}, sources,
                          [weight](const Sources& from, std::uint64_t, std::span<std::byte> out) {
                            store_le(out.data(), weight->shared(from));
                          }));
  return made;
}

}  // namespace mu
