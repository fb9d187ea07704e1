// SPDX-License-Identifier: Apache-2.0
// A stretch of the plain tensor is cut into pieces: rows from and to the same column. Only the first and the last
// piece of a stretch are parts of rows, so a piece has no more elements than the stretch, however long rows are.
#include "weights/quant/ct_packed.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/quant/codes.h"
#include "weights/quant/floats.h"
#include "weights/quant/group_index.h"

namespace mu {
namespace {

using Shape = std::vector<std::uint64_t>;

constexpr unsigned kWord = 32;  // bits

struct Packed {
  unsigned bits = 0;
  std::uint64_t rows = 0;  // of one matrix; there are several where a tensor holds experts
  std::uint64_t columns = 0;
  std::uint64_t row_bytes = 0;   // of packed values
  std::uint64_t zero_words = 0;  // rows of words that hold the zero points of one matrix
  std::uint64_t groups = 0;      // of a row
  bool one_scale = false;        // for the whole tensor
  Dtype scale_type = Dtype::kF32;
  bool rounds = false;               // to the scale's type, which is not that of the plain tensor
  std::size_t zeros = 0, index = 0;  // sources, where there are any
};
constexpr std::size_t kCodes = 0, kScales = 1;  // the other sources

struct Piece {
  std::uint64_t row = 0,
                rows = 0;  // rows of all matrices are counted through; all of a piece are of one matrix
  std::uint64_t from = 0, to = 0;  // columns
  std::uint64_t first_group = 0, groups = 0;
};

struct Buffers {
  std::vector<std::byte> packed;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint32_t> words, index;
  std::vector<float> scales, zeros;
};

// The next piece of a stretch of `count` elements.
Piece next_piece(const Packed& p, std::uint64_t first, std::uint64_t count) {
  Piece piece;
  piece.row = first / p.columns;
  piece.from = first % p.columns;
  piece.to = std::min(p.columns, piece.from + count);
  piece.rows = 1;
  if (piece.from == 0 && count >= p.columns)
    piece.rows = std::min(count / p.columns, p.rows - piece.row % p.rows);
  const std::uint64_t group = p.columns / p.groups;
  piece.first_group = p.index == 0 ? piece.from / group : 0;
  piece.groups = p.index == 0 ? (piece.to - 1) / group + 1 - piece.first_group : p.groups;
  return piece;
}

void read_scales(const Sources& sources, const Packed& p, const Piece& piece, Buffers& buffers) {
  buffers.scales.resize(piece.rows * piece.groups);
  if (!p.one_scale)
    return read_floats(sources, kScales, piece.row * p.groups + piece.first_group, buffers.scales);
  read_floats(sources, kScales, 0, std::span(buffers.scales).first(1));
  std::fill(buffers.scales.begin(), buffers.scales.end(), buffers.scales.front());
}

// Zero points as they are stored, without the offset, which codes have, too.
void read_zeros(const Sources& sources, const Packed& p, const Piece& piece, Buffers& buffers) {
  buffers.zeros.resize(piece.rows * piece.groups);
  const auto middle = static_cast<float>(1U << (p.bits - 1));
  if (p.zeros == 0) return std::fill(buffers.zeros.begin(), buffers.zeros.end(), middle);
  if (p.one_scale) {
    read_floats(sources, p.zeros, 0, std::span(buffers.zeros).first(1));
    return std::fill(buffers.zeros.begin(), buffers.zeros.end(), buffers.zeros.front() + middle);
  }
  const std::uint64_t row = piece.row % p.rows, base = piece.row / p.rows * p.zero_words;
  const std::uint64_t first = row * p.bits / kWord, last = ((row + piece.rows) * p.bits - 1) / kWord;
  buffers.words.resize((last + 1 - first) * piece.groups);
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(buffers.words));
  const std::uint64_t width = piece.groups * sizeof(std::uint32_t);
  // Either of whole rows, which follow one another, or of one row, in one or two rows of words.
  for (std::uint64_t w = first; w <= last; w = piece.groups == p.groups ? last + 1 : w + 1) {
    const std::uint64_t words = piece.groups == p.groups ? last + 1 - first : 1;
    sources.read(p.zeros, ((base + w) * p.groups + piece.first_group) * sizeof(std::uint32_t),
                 bytes.subspan((w - first) * width, words * width));
  }
  const std::uint32_t mask = (1U << p.bits) - 1;
  for (std::uint64_t i = 0; i < piece.rows; ++i) {
    const std::uint64_t bit = (row + i) * p.bits;
    const auto shift = static_cast<unsigned>(bit % kWord);
    const std::uint32_t* const low = buffers.words.data() + (bit / kWord - first) * piece.groups;
    const std::uint32_t* const high = shift + p.bits > kWord ? low + piece.groups : low;
    for (std::uint64_t g = 0; g < piece.groups; ++g) {
      const std::uint64_t both = low[g] | static_cast<std::uint64_t>(high[g]) << kWord;
      buffers.zeros[i * piece.groups + g] =
          static_cast<float>(static_cast<std::uint32_t>(both >> shift) & mask);
    }
  }
}

void fill_piece(const Sources& sources, const Packed& p, const Piece& piece, std::span<float> out) {
  thread_local Buffers buffers;
  read_scales(sources, p, piece, buffers);
  read_zeros(sources, p, piece, buffers);
  if (p.index != 0) {
    buffers.index.resize(piece.to - piece.from);
    read_group_index(sources, p.index, piece.from, p.groups, buffers.index);
  }
  // From a whole block of eight values on, to the end of a byte.
  const std::uint64_t begin = piece.from / 8 * p.bits, end = (piece.to * p.bits + 7) / 8;
  const std::uint64_t between = piece.rows > 1 ? p.row_bytes : 0;
  const std::uint64_t size = (piece.rows - 1) * between + end - begin;
  buffers.packed.resize(size + kCodeSlack);
  sources.read(kCodes, piece.row * p.row_bytes + begin, std::span(buffers.packed).first(size));
  const std::uint64_t skipped = piece.from % 8, width = piece.to - piece.from;
  buffers.codes.resize(skipped + width + kCodeSlack);
  for (std::uint64_t i = 0; i < piece.rows; ++i) {
    unpack_codes(p.bits, buffers.packed.data() + i * between, skipped + width, buffers.codes.data());
    const std::uint8_t* const codes = buffers.codes.data() + skipped;
    const float* const scales = buffers.scales.data() + i * piece.groups;
    const float* const zeros = buffers.zeros.data() + i * piece.groups;
    const std::span<float> row = out.subspan(i * width, width);
    if (p.index != 0)
      scale_codes(codes, buffers.index.data(), scales, zeros, row);
    else
      scale_codes(codes, {piece.from, p.columns / p.groups, scales, zeros}, row);
    if (p.rounds) round_floats(p.scale_type, row);
  }
}

void fill(const Sources& sources, const Packed& p, std::uint64_t first, std::span<float> out) {
  while (!out.empty()) {
    const Piece piece = next_piece(p, first, out.size());
    const std::uint64_t count = piece.rows * (piece.to - piece.from);
    fill_piece(sources, p, piece, out.first(count));
    first += count;
    out = out.subspan(count);
  }
}

// The shape of the plain tensor, which the packed one and what weight_shape says must both fit.
Shape plain_shape(const StoredWeight& stored, const QuantContext& context, unsigned bits) {
  const Tensor& packed = *stored.weight;
  const Tensor& says = stored.require(".weight_shape");
  const std::size_t dims = packed.shape.size();
  if (packed.dtype != Dtype::kI32 || dims < 2 || dims > 3)
    throw malformed(fmt::format("'{}' should be a matrix of I32, and is {} {}", escape_name(packed.name),
                                name(packed.dtype), shape_text(packed.shape)));
  if (says.dtype != Dtype::kI64 || says.shape != Shape{dims})
    throw malformed(fmt::format("'{}' should be {} numbers of I64, and is {} {}", escape_name(says.name),
                                dims, name(says.dtype), shape_text(says.shape)));
  Shape shape(dims);
  context.weights.read(says, 0, std::as_writable_bytes(std::span(shape)));
  const std::optional<std::uint64_t> row_bits = checked_mul(shape.back(), bits);
  Shape fits = shape;
  if (row_bits) fits.back() = *row_bits / kWord + (*row_bits % kWord == 0 ? 0 : 1);
  if (!row_bits || fits != packed.shape)
    throw malformed(fmt::format("'{}' is {}, which does not hold {} of {} bits, as '{}' says",
                                escape_name(packed.name), shape_text(packed.shape), shape_text(shape), bits,
                                escape_name(says.name)));
  return shape;
}

void check_scales(const Tensor& scales, const Shape& fits) {
  if (scales.dtype != Dtype::kBF16 && scales.dtype != Dtype::kF16 && scales.dtype != Dtype::kF32)
    throw refused(
        fmt::format("'{}' has the type {}, and scales of packed weights are read as BF16, F16 or F32",
                    escape_name(scales.name), name(scales.dtype)));
  if (scales.shape != fits)
    throw malformed(fmt::format("'{}' is {}, and should be {}", escape_name(scales.name),
                                shape_text(scales.shape), shape_text(fits)));
}

// Scales in each row. Throws where they can't be as the group says.
std::uint64_t groups_of(const Tensor& weight, const CtArgs& args, std::uint64_t columns) {
  if (args.strategy == CtStrategy::kTensor || args.strategy == CtStrategy::kChannel) return 1;
  if (args.strategy == CtStrategy::kBlock)
    throw refused(
        fmt::format("'{}' is packed in blocks, which can't be made plain", escape_name(weight.name)));
  const std::uint64_t size = args.group_size.value_or(columns);
  if (size == 0 || columns % size != 0)
    throw malformed(fmt::format("'{}' has {}, which don't divide into groups of {}, as the config says",
                                escape_name(weight.name), plural(columns, "column"), size));
  return columns / size;
}

}  // namespace

PlainWeight plain_ct_packed(const StoredWeight& stored, const QuantContext& context, const CtArgs& args) {
  const Tensor& weight = *stored.weight;
  if (args.is_float || args.num_bits < 1 || args.num_bits > 8)
    throw refused(fmt::format("'{}' is packed as {} of {} bits, and whole numbers of 1 to 8 bits are read",
                              escape_name(weight.name), args.is_float ? "floats" : "whole numbers",
                              args.num_bits));
  if (const Tensor* const global = stored.find(".weight_global_scale"))
    throw refused(fmt::format("'{}' belongs to packed whole numbers, which can't be made plain with that",
                              escape_name(global->name)));
  Packed p;
  p.bits = static_cast<unsigned>(args.num_bits);
  Shape shape = plain_shape(stored, context, p.bits);
  p.rows = shape[shape.size() - 2];
  p.columns = shape.back();
  p.row_bytes = weight.shape.back() * sizeof(std::uint32_t);
  p.groups = groups_of(weight, args, p.columns);
  p.one_scale = args.strategy == CtStrategy::kTensor;
  const Tensor& scales = stored.require(".weight_scale");
  Shape fits = shape;
  fits.back() = p.groups;
  if (p.one_scale) fits = scales.shape.empty() ? Shape{} : Shape{1};
  check_scales(scales, fits);
  p.scale_type = scales.dtype;
  p.rounds = scales.dtype != context.target;
  std::vector<Tensor> sources{weight, scales};
  if (!args.symmetric) {
    const Tensor& zeros = stored.require(".weight_zero_point");
    p.zero_words = (p.rows * p.bits + kWord - 1) / kWord;
    // One alone is not packed.
    if (!p.one_scale) fits[fits.size() - 2] = p.zero_words;
    const Dtype dtype = p.one_scale ? Dtype::kI8 : Dtype::kI32;
    if (zeros.dtype != dtype || zeros.shape != fits)
      throw malformed(fmt::format("'{}' is {} {}, and should be {} {}", escape_name(zeros.name),
                                  name(zeros.dtype), shape_text(zeros.shape), name(dtype), shape_text(fits)));
    p.zeros = sources.size();
    sources.push_back(zeros);
  }
  const Tensor* const index = stored.find(".weight_g_idx");
  if (index != nullptr && check_group_index(context.weights, *index, p.columns, p.groups)) {
    p.index = sources.size();
    sources.push_back(*index);
  }
  return {stored.module + ".weight", std::move(shape), std::move(sources),
          [p](const Sources& from, std::uint64_t first, std::span<float> out) { fill(from, p, first, out); }};
}

}  // namespace mu
