// SPDX-License-Identifier: Apache-2.0
// The fewest outputs that have whole words of their own are a unit: those whose zero points share a word. Sources are
// transposed, so that what belongs to a unit is one run of each; strips.h reads many units at a time.
#include "weights/quant/in_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/decode.h"
#include "tensor/format.h"
#include "weights/quant/codes.h"
#include "weights/quant/floats.h"
#include "weights/quant/group_index.h"
#include "weights/quant/strips.h"
#include "weights/views.h"

namespace mu {
namespace {

using Shape = std::vector<std::uint64_t>;

constexpr std::size_t kCodes = 0, kScales = 1;  // sources
constexpr std::uint64_t kWordBytes = sizeof(std::uint32_t);

struct InOut {
  unsigned bits = 0;
  std::uint64_t inputs = 0, outputs = 0, unit = 0;  // outputs of a unit
  std::uint64_t group = 0, groups = 0;
  bool along_outputs = false;
  std::array<unsigned, 16> places{};
  std::uint32_t added = 0;
  std::uint64_t row_bytes = 0;  // of codes, in a strip
  Dtype scale_type = Dtype::kF32;
  bool rounds = false;               // to the scale's type, which is not that of the plain tensor
  std::size_t zeros = 0, index = 0;  // sources, where there are any
  std::shared_ptr<Strips> strips{};
};

struct Buffers {
  std::vector<std::uint8_t> codes;
  std::vector<std::uint32_t> index;
  std::vector<float> scales, zeros;
};

// Scales and zero points of an output, which is number `place` of unit `unit` in the strip.
void take_scales(const InOut& w, const Strips::Strip& strip, std::uint64_t unit, std::uint64_t place,
                 Buffers& buffers) {
  buffers.scales.resize(w.groups);
  buffers.zeros.resize(w.groups);
  const std::uint64_t row = w.groups * bits(w.scale_type) / 8;
  decode(w.scale_type, std::span(strip.bytes[kScales]).subspan((unit * w.unit + place) * row, row),
         buffers.scales);
  if (w.zeros == 0)
    return std::fill(buffers.zeros.begin(), buffers.zeros.end(), static_cast<float>(1U << (w.bits - 1)));
  const std::byte* const words = strip.bytes[w.zeros].data() + unit * w.groups * kWordBytes;
  const unsigned shift = w.places[place] * w.bits;
  const std::uint32_t mask = (1U << w.bits) - 1;
  for (std::uint64_t g = 0; g < w.groups; ++g)
    buffers.zeros[g] =
        static_cast<float>((load_le<std::uint32_t>(words + g * kWordBytes) + w.added) >> shift & mask);
}

// Codes of inputs [from, from + count) of an output; returns where the first of them is.
const std::uint8_t* take_codes(const InOut& w, const Strips::Strip& strip, std::uint64_t unit,
                               std::uint64_t place, std::uint64_t from, std::size_t count,
                               std::vector<std::uint8_t>& codes) {
  const std::size_t skipped = w.along_outputs ? 0 : from % 8;
  codes.resize(skipped + count + kCodeSlack);
  const std::byte* const all = strip.bytes[kCodes].data();
  if (w.along_outputs)
    nibbles_of_words(all + unit * w.row_bytes + from * kWordBytes, count, w.places[place] * w.bits,
                     codes.data());
  else
    unpack_codes(w.bits, all + (unit * w.unit + place) * w.row_bytes + from / 8 * w.bits, skipped + count,
                 codes.data());
  return codes.data() + skipped;
}

void fill(const Sources& sources, const InOut& w, std::uint64_t first, std::span<float> out) {
  thread_local Buffers buffers;
  if (w.index != 0) {
    buffers.index.resize(w.inputs);
    read_group_index(sources, w.index, 0, w.groups, buffers.index);
  }
  while (!out.empty()) {
    const std::uint64_t output = first / w.inputs, from = first % w.inputs, place = output % w.unit;
    const std::span<float> row =
        out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), w.inputs - from)));
    const std::shared_ptr<const Strips::Strip> strip = w.strips->around(sources, output / w.unit);
    const std::uint64_t unit = output / w.unit - strip->first;
    take_scales(w, *strip, unit, place, buffers);
    const std::uint8_t* const codes = take_codes(w, *strip, unit, place, from, row.size(), buffers.codes);
    const float* const scales = buffers.scales.data();
    const float* const zeros = buffers.zeros.data();
    if (w.index != 0)
      scale_codes(codes, buffers.index.data() + from, scales, zeros, row);
    else
      scale_codes(codes, {from, w.group, scales + from / w.group, zeros + from / w.group}, row);
    if (w.rounds) round_floats(w.scale_type, row);
    first += row.size();
    out = out.subspan(row.size());
  }
}

void require(const Tensor& tensor, Dtype dtype, const Shape& shape) {
  if (tensor.dtype != dtype || tensor.shape != shape)
    throw malformed(fmt::format("'{}' is {} {}, and should be {} {}", escape_name(tensor.name),
                                name(tensor.dtype), shape_text(tensor.shape), name(dtype),
                                shape_text(shape)));
}

// What the codes' shape says.
InOut sizes_of(const InOutWeight& weight) {
  const Tensor& codes = *weight.codes;
  if (codes.dtype != Dtype::kI32 || codes.shape.size() != 2)
    throw malformed(fmt::format("'{}' should be a matrix of I32, and is {} {}", escape_name(codes.name),
                                name(codes.dtype), shape_text(codes.shape)));
  InOut w{.bits = weight.bits,
          .along_outputs = weight.along_outputs,
          .places = weight.places,
          .added = weight.added};
  w.unit = 32 / w.bits;
  w.row_bytes = codes.shape[0] * kWordBytes;
  std::optional<std::uint64_t> inputs = checked_mul(codes.shape[0], w.along_outputs ? 1 : w.unit);
  const std::optional<std::uint64_t> outputs = checked_mul(codes.shape[1], w.along_outputs ? w.unit : 1);
  if (!inputs || !outputs || *inputs > Strips::kLargestUnit)
    throw malformed(fmt::format("'{}' is {}, larger than any model needs", escape_name(codes.name),
                                shape_text(codes.shape)));
  // The last word of an output may have values to spare.
  if (weight.index != nullptr && weight.index->shape.size() == 1 && weight.index->shape[0] < *inputs &&
      *inputs - weight.index->shape[0] < w.unit && !w.along_outputs)
    inputs = weight.index->shape[0];
  w.inputs = *inputs;
  w.outputs = *outputs;
  w.group = weight.group_size == 0 ? std::max<std::uint64_t>(1, w.inputs) : weight.group_size;
  w.groups = w.inputs / w.group + (w.inputs % w.group == 0 ? 0 : 1);
  return w;
}

}  // namespace

void require_direction(const InOutWeight& weight) {
  const Shape& codes = weight.codes->shape;
  const Shape& scales = weight.scales->shape;
  if (weight.bits != 4 || codes.size() != 2 || scales.size() != 2) return;
  constexpr std::uint64_t kValues = 8;  // in a word
  // Inputs and outputs, if words lay the other way than they should.
  const std::optional<std::uint64_t> inputs = checked_mul(codes[0], weight.along_outputs ? kValues : 1);
  const std::optional<std::uint64_t> outputs = checked_mul(codes[1], weight.along_outputs ? 1 : kValues);
  if (!inputs || !outputs || *outputs == 0 || scales[1] != *outputs) return;
  const std::uint64_t group =
      weight.group_size == 0 ? std::max<std::uint64_t>(1, *inputs) : weight.group_size;
  if (scales[0] != *inputs / group + (*inputs % group == 0 ? 0 : 1)) return;
  throw refused(fmt::format("the config says {}, but '{}' {} and '{}' {} are stored as {} does",
                            weight.along_outputs ? "AWQ" : "GPTQ", escape_name(weight.codes->name),
                            shape_text(codes), escape_name(weight.scales->name), shape_text(scales),
                            weight.along_outputs ? "GPTQ" : "AWQ"));
}

PlainWeight plain_in_out(const InOutWeight& weight, const QuantContext& context) {
  InOut w = sizes_of(weight);
  const Dtype type = weight.scales->dtype;
  if (type != Dtype::kF16 && type != Dtype::kBF16 && type != Dtype::kF32)
    throw refused(fmt::format("'{}' has the type {}, and scales are read as F16, BF16 or F32",
                              escape_name(weight.scales->name), name(type)));
  require(*weight.scales, type, {w.groups, w.outputs});
  w.scale_type = type;
  w.rounds = type != context.target;
  std::vector<Tensor> sources{transpose(*weight.codes, 0, 1), transpose(*weight.scales, 0, 1)};
  const std::uint64_t units = w.outputs / w.unit + (w.outputs % w.unit == 0 ? 0 : 1);
  std::vector<std::uint64_t> unit_bytes{w.row_bytes * (w.along_outputs ? 1 : w.unit),
                                        w.groups * w.unit * bits(type) / 8};
  if (weight.zeros != nullptr) {
    require(*weight.zeros, Dtype::kI32, {w.groups, units});
    w.zeros = sources.size();
    sources.push_back(transpose(*weight.zeros, 0, 1));
    unit_bytes.push_back(w.groups * kWordBytes);
  }
  if (std::accumulate(unit_bytes.begin(), unit_bytes.end(), std::uint64_t{0}) > Strips::kLargestUnit)
    throw malformed(fmt::format("'{}' is {}, in {}: more than any model needs",
                                escape_name(weight.codes->name), shape_text(weight.codes->shape),
                                plural(w.groups, "group")));
  w.strips = std::make_shared<Strips>(units, std::move(unit_bytes));
  if (weight.index != nullptr) {
    if (!check_group_index(context.weights, *weight.index, w.inputs, w.groups))
      throw malformed(fmt::format("'{}' has columns without a group", escape_name(weight.index->name)));
    w.index = sources.size();
    sources.push_back(*weight.index);
  }
  return {weight.name, Shape{w.outputs, w.inputs}, std::move(sources),
          [w](const Sources& from, std::uint64_t first, std::span<float> out) { fill(from, w, first, out); }};
}

}  // namespace mu
