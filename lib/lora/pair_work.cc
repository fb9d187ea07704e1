// SPDX-License-Identifier: Apache-2.0
// How a pair of matrices becomes factors. The difference of the two models is computed in fp32, approximated by low
// rank (low_rank.cc), rounded to the type in which the factors will be stored, and only then is the error measured, so
// the report states the error of what is written. With an automatic rank (noise, energy) the approximation starts at
// rank 64 and doubles until the chosen rank lies inside it; then it is cut. The seed of each matrix comes from its name,
// so the result does not depend on order, threads or parts.
#include "lora/pair_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "lora/low_rank.h"
#include "lora/rank.h"
#include "model/families.h"
#include "os/interrupt.h"
#include "os/threads.h"
#include "tensor/cast.h"
#include "tensor/decode.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::uint64_t kPiece = 1U << 20;     // elements read at once
constexpr std::uint64_t kAlone = 96ULL << 20;  // elements; a larger matrix (384 MiB in fp32) gets all threads
constexpr std::uint64_t kMost = 1ULL << 32;    // elements of a matrix: 16 GiB in fp32

// A seed from a name, by FNV-1a.
std::uint64_t seed_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

void require_finite(std::span<const float> values, const Tensor& tensor, const Weights& weights) {
  if (std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) return;
  throw malformed(fmt::format("'{}' holds NaN or infinity", escape_name(tensor.name)))
      .in_file(escape_name(weights.files[tensor.source].name));
}

// Elements of a tensor from number `first` on. Throws kMalformed for values that are not finite.
void read_floats(const Weights& weights, const Tensor& tensor, std::uint64_t first, std::span<float> values) {
  thread_local std::vector<std::byte> bytes;
  CastReport report;
  const std::uint64_t element = bits(tensor.dtype) / 8;
  bytes.resize(values.size() * static_cast<std::size_t>(element));
  weights.read(tensor, first * element, bytes);
  if (fits_float(tensor.dtype))
    decode(tensor.dtype, bytes, values);
  else
    cast(tensor.dtype, Dtype::kF32, bytes, std::as_writable_bytes(values), report);
  require_finite(values, tensor, weights);
}

void read_bytes(const Weights& weights, const Tensor& tensor, std::uint64_t first, std::uint64_t count,
                std::vector<std::byte>& out) {
  const std::uint64_t width = bits(tensor.dtype);
  out.resize(static_cast<std::size_t>(count * width / 8));
  weights.read(tensor, first * width / 8, out);
}

// Rounds values to `dtype` and back.
void round_to(Dtype dtype, std::vector<float>& values) {
  if (dtype == Dtype::kF32 || values.empty()) return;
  std::vector<std::byte> bytes(values.size() * bits(dtype) / 8);
  CastReport report;
  cast(Dtype::kF32, dtype, std::as_bytes(std::span(values)), bytes, report);
  decode(dtype, bytes, std::span(values));
}

// [rows, columns] -> [columns, rows]
std::vector<float> transpose(std::span<const float> values, std::size_t rows, std::size_t columns) {
  std::vector<float> out(values.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t k = 0; k < columns; ++k) out[k * rows + i] = values[i * columns + k];
  }
  return out;
}

// Keeps the first `rank` components.
void cut(LowRank& found, std::size_t rank, std::size_t m, std::size_t n) {
  if (rank == found.rank) return;
  std::vector<float> left(m * rank);
  for (std::size_t i = 0; i < m; ++i)
    std::copy_n(found.left.begin() + static_cast<std::ptrdiff_t>(i * found.rank), rank,
                left.begin() + static_cast<std::ptrdiff_t>(i * rank));
  found.left = std::move(left);
  found.right.resize(rank * n);
  found.rank = rank;
}

}  // namespace

PairWork::PairWork(const Input& base, const Input& tuned, const PairPlan& plan, const PairRunOptions& options,
                   std::shared_ptr<FactorStore> store, bool keeps_whole)
    : base_(base.weights),
      tuned_(tuned.weights),
      plan_(plan),
      o_(options),
      products_(options.kernel),
      store_(std::move(store)),
      keeps_whole_(keeps_whole) {}

bool PairWork::is_alone(const PairTensor& pair) {
  return pair.count > kAlone;
}

// Without a counterpart of the same shape it has changed.
bool PairWork::is_compared(const PairTensor& pair) {
  return is_matrix(pair) ||
         (pair.base != nullptr && !pair.extended && pair.base_values.shape == pair.tuned_values.shape);
}

bool PairWork::may_keep(const PairTensor& pair) {
  return pair.kind == PairKind::kFull || pair.kind == PairKind::kBias;
}

void PairWork::know(const FoundTensor& found) {
  if (found.rank > 0 && !found.is_noise) has_signal_ = true;
}

FoundTensor PairWork::find(std::size_t unit, unsigned threads) {
  check_interrupt();
  const PairTensor& pair = plan_.tensors[unit];
  FoundTensor found;
  found.done = true;
  if (is_matrix(pair)) {
    factorise(pair, threads, found);
    return found;
  }
  found.changed = pair.base == nullptr || pair.extended || !same_values(pair);
  if (keeps_whole_ && may_keep(pair) && (found.changed || is_head_of_task(plan_.task_type, pair.parameter))) {
    found.kept = pair.tuned_values.size;
    found.offset = store_->add(found.kept, [&](std::uint64_t at, std::span<std::byte> out) {
      check_interrupt();
      tuned_.read(pair.tuned_values, at, out);
    });
    found.read = [store = store_](std::uint64_t at, std::span<std::byte> out) { store->read_at(at, out); };
  }
  return found;
}

// Of types that are not plain floats by bytes, of others by value: the same numbers in another type are not a change.
bool PairWork::same_values(const PairTensor& pair) const {
  const Dtype a = pair.base->dtype, b = pair.tuned->dtype;
  if (pair.base_values.shape != pair.tuned_values.shape) return false;
  if (a != b && (!is_plain_float(a) || !is_plain_float(b))) return false;
  std::vector<std::byte> left, right;
  std::vector<double> x, y;
  for (std::uint64_t at = 0; at < pair.count; at += kPiece) {
    check_interrupt();
    const std::uint64_t count = std::min(kPiece, pair.count - at);
    read_bytes(base_, pair.base_values, at, count, left);
    read_bytes(tuned_, pair.tuned_values, at, count, right);
    if (a == b && left == right) continue;
    if (a == b) return false;
    x.resize(static_cast<std::size_t>(count));
    y.resize(x.size());
    decode(a, left, std::span(x));
    decode(b, right, std::span(y));
    for (std::size_t k = 0; k < x.size(); ++k) {
      if (x[k] != y[k] && !(std::isnan(x[k]) && std::isnan(y[k]))) return false;
    }
  }
  return true;
}

// The difference of a pair, in fp32; also the tuned values, if `tuned` has room for them.
void PairWork::read_delta(const PairTensor& pair, std::span<float> delta, std::span<float> tuned,
                          unsigned threads) const {
  const std::uint64_t count = delta.size();
  parallel_for(static_cast<std::size_t>((count + kPiece - 1) / kPiece), threads, [&](std::size_t piece) {
    check_interrupt();
    const std::uint64_t at = piece * kPiece;
    const auto size = static_cast<std::size_t>(std::min(kPiece, count - at));
    const std::span<float> values = delta.subspan(static_cast<std::size_t>(at), size);
    thread_local std::vector<float> other;
    other.resize(size);
    read_floats(tuned_, pair.tuned_values, at, values);
    if (!tuned.empty())
      std::copy(values.begin(), values.end(), tuned.begin() + static_cast<std::ptrdiff_t>(at));
    read_floats(base_, pair.base_values, at, other);
    for (std::size_t k = 0; k < size; ++k) values[k] -= other[k];
  });
}

void PairWork::factorise(const PairTensor& pair, unsigned threads, FoundTensor& found) {
  const auto m = static_cast<std::size_t>(pair.rows), n = static_cast<std::size_t>(pair.columns);
  const std::uint64_t count = pair.count;
  if (count == 0) return;
  if (count > kMost)
    throw malformed(fmt::format("'{}' is too large for memory", escape_name(pair.name)))
        .hint("--full-modules stores it whole");
  // Whether anything is above the noise matters unless a rank was asked for, and one module answers for all.
  const bool is_asked = o_.rank.by == RankChoice::By::kNumber && !o_.rank.is_default;
  const bool judges_noise = !is_asked && !has_signal_;
  const bool needs_tuned = o_.rank.by == RankChoice::By::kNoise || judges_noise;
  // Without initial values, so that the threads below are the first to touch the memory.
  const auto buffer = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(count));
  const std::span<float> delta(buffer.get(), static_cast<std::size_t>(count));
  std::vector<float> tuned(needs_tuned ? delta.size() : 0);
  read_delta(pair, delta, tuned, threads);
  LowRank factors = approximate_delta(pair, delta, tuned, threads);
  if (factors.total == 0 || factors.rank == 0) return;
  found.is_noise = judges_noise && is_noise(pair, delta, tuned, factors, threads);
  if (!found.is_noise) has_signal_ = true;
  const Dtype dtype = factor_dtype(pair, o_);
  found.changed = true;
  ModuleReport& report = found.report;
  report.name = pair.module;
  report.m = m;
  report.n = n;
  report.rank = factors.rank;
  report.norm = std::sqrt(factors.total);
  report.gap = factors.gap;
  // If the user gave an alpha the scale is not 1, and B is stored divided by it.
  const float scale = o_.alpha ? static_cast<float>(*o_.alpha / static_cast<double>(o_.rank.rank)) : 1.0F;
  if (scale != 1.0F) {
    for (float& value : factors.left) value /= scale;
  }
  round_to(dtype, factors.left);
  round_to(dtype, factors.right);
  std::vector<float> left = factors.left;
  for (float& value : left) value *= scale;
  const double squared = squared_error(products_, delta, m, n, left, factors.right, factors.rank, threads);
  report.error = std::sqrt(squared / factors.total);
  report.energy = std::max(0.0, 1 - squared / factors.total);
  report.values = std::move(factors.values);
  store(pair, std::move(factors), found);
}

void PairWork::store(const PairTensor& pair, LowRank factors, FoundTensor& found) const {
  found.rank = factors.rank;
  found.in = static_cast<std::size_t>(in_features(pair));
  found.out = static_cast<std::size_t>(out_features(pair));
  std::vector<float> a = std::move(factors.right), b = std::move(factors.left);
  if (pair.transposed) {
    std::vector<float> turned = transpose(b, static_cast<std::size_t>(pair.rows), found.rank);
    b = transpose(a, found.rank, static_cast<std::size_t>(pair.columns));
    a = std::move(turned);
  }
  a.insert(a.end(), b.begin(), b.end());
  found.offset = store_->add(factor_bytes(found), [&a](std::uint64_t at, std::span<std::byte> out) {
    std::memcpy(out.data(), std::as_bytes(std::span(a)).data() + at, out.size());
  });
  found.read = [kept = store_](std::uint64_t at, std::span<std::byte> out) { kept->read_at(at, out); };
}

bool PairWork::is_noise(const PairTensor& pair, std::span<const float> delta, std::span<const float> tuned,
                        const LowRank& found, unsigned threads) const {
  const auto m = static_cast<std::size_t>(pair.rows), n = static_cast<std::size_t>(pair.columns);
  const std::uint64_t seed = seed_of(pair.module) + 1;
  const Dtype dtype = coarser(pair.base->dtype, pair.tuned->dtype);
  if (is_rounding(products_, tuned, m, n, dtype, found, seed, threads)) return true;
  return o_.rank.by == RankChoice::By::kNoise &&
         is_unstructured(products_, delta, m, n, found, seed, threads);
}

LowRank PairWork::approximate_delta(const PairTensor& pair, std::span<const float> delta,
                                    std::span<const float> tuned, unsigned threads) const {
  const auto m = static_cast<std::size_t>(pair.rows), n = static_cast<std::size_t>(pair.columns);
  const std::uint64_t seed = seed_of(pair.module);
  LowRankOptions options{.rank = o_.rank.rank, .seed = seed, .threads = threads};
  if (o_.exact) {
    options.gap = 1e-6;
    options.max_blocks = 64;
  }
  if (o_.rank.by == RankChoice::By::kNumber) return approximate(products_, delta, m, n, options);
  options.rank = std::min<std::size_t>(o_.rank.most, 64);
  for (;;) {
    LowRank found = approximate(products_, delta, m, n, options);
    if (found.total == 0) return found;
    std::size_t rank =
        o_.rank.by == RankChoice::By::kEnergy
            ? energy_rank(found, o_.rank.energy)
            : noise_rank(products_, delta, tuned, m, n, pair.tuned->dtype, found, seed + 1, threads);
    // If nothing is above the noise the difference is real all the same, and its largest component stands
    // for it, unless all modules are like that.
    rank = std::max<std::size_t>(rank, 1);
    if (rank >= found.rank && options.rank < std::min({o_.rank.most, m, n})) {
      options.rank = std::min(2 * options.rank, o_.rank.most);
      continue;
    }
    cut(found, std::min(rank, found.rank), m, n);
    return found;
  }
}

Dtype factor_dtype(const PairTensor& pair, const PairRunOptions& options) {
  const Dtype own = pair.tuned->dtype;
  return options.dtype.value_or(own == Dtype::kF64 ? Dtype::kF32 : own);
}

}  // namespace mu
