// SPDX-License-Identifier: Apache-2.0
// A piece of the tensor is read as fp32, each step adds its part of a product of factors or a bias to the elements that
// it changes, DoRA scales them, and at the end rows are replaced and the piece is rounded. Factors are arranged once, in
// the order of the stored tensor, and kept as long as a thread reads it; the norms of DoRA take a pass of their own.
#include "lora/merged_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "lora/product.h"
#include "os/interrupt.h"
#include "tensor/cast.h"
#include "tensor/decode.h"

namespace mu {
namespace {

// A factor in fp32, checked for NaN and infinity.
std::vector<float> load(const Adapter& adapter, const LoraModule& module, const Tensor& tensor) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  adapter.weights.read(tensor, 0, bytes);
  std::vector<float> values(static_cast<std::size_t>(tensor.element_count()));
  if (fits_float(tensor.dtype)) {
    decode(tensor.dtype, bytes, std::span(values));
  } else {
    std::vector<double> wide(values.size());
    decode(tensor.dtype, bytes, std::span(wide));
    std::transform(wide.begin(), wide.end(), values.begin(), [](double v) { return static_cast<float>(v); });
  }
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    throw malformed(fmt::format("'{}' holds NaN or infinity", escape_name(tensor.name)))
        .in_file(escape_name(module.name + " of " + adapter.name));
  return values;
}

struct LoadedPair {
  const LoraModule* module;
  std::vector<float> a, b;
};

// The experts of a layer follow each other and use the same factors.
std::shared_ptr<const LoadedPair> load_pair(const Adapter& adapter, const LoraModule& module) {
  thread_local std::shared_ptr<const LoadedPair> latest;
  if (!latest || latest->module != &module)
    latest = std::make_shared<const LoadedPair>(
        LoadedPair{&module, load(adapter, module, *module.a), load(adapter, module, *module.b)});
  return latest;
}

}  // namespace

// L [experts, rows, r] and R [experts, r, columns] of the stored tensor, and for DoRA a factor for each
// output.
struct MergedTensor::Factors {
  std::uint64_t rows, rank, columns;  // of one expert
  std::vector<float> left, right;
  std::vector<float> magnitudes;  // m / ||W0 + delta||; by row, or by column if transposed
  bool by_column = false;

  // Adds the delta to `values`, elements [first, first + values.size()) of those that it changes.
  void add(std::uint64_t first, std::span<float> values, float scale) const {
    std::size_t done = 0;
    while (done < values.size()) {
      const std::uint64_t element = first + done, row = element / columns, column = element % columns;
      // Whole rows of one expert are multiplied together.
      const std::uint64_t expert = row / rows;
      std::uint64_t many = 1;
      std::uint64_t width = std::min<std::uint64_t>(columns - column, values.size() - done);
      if (width == columns) many = std::min((values.size() - done) / columns, (expert + 1) * rows - row);
      add_product({left.data() + row * rank, right.data() + expert * rank * columns + column,
                   values.data() + done, static_cast<std::size_t>(many), static_cast<std::size_t>(width),
                   static_cast<std::size_t>(rank), static_cast<std::size_t>(columns), scale});
      done += static_cast<std::size_t>(many * width);
    }
  }

  void apply_magnitudes(std::uint64_t first, std::span<float> values) const {
    if (magnitudes.empty()) return;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint64_t element = first + i;
      values[i] *= magnitudes[static_cast<std::size_t>(by_column ? element % columns : element / columns)];
    }
  }
};

MergedTensor::MergedTensor(const Weights& base, Tensor tensor, std::vector<MergeStep> steps,
                           std::vector<RowsStep> rows)
    : base_(base),
      tensor_(std::move(tensor)),
      columns_(tensor_.shape.empty() ? 1 : tensor_.shape.back()),
      steps_(std::move(steps)),
      rows_(std::move(rows)),
      factors_(steps_.size()) {}

MergedTensor::~MergedTensor() = default;

std::vector<std::pair<const Weights*, Tensor>> MergedTensor::reads() const {
  std::vector<std::pair<const Weights*, Tensor>> all = {{&base_, tensor_}};
  for (const MergeStep& step : steps_) {
    const LoraModule& module = *step.module;
    const std::vector<const Tensor*> factors =
        step.is_bias ? std::vector{module.bias} : std::vector{module.a, module.b, module.magnitude};
    for (const Tensor* factor : factors)
      if (factor != nullptr) all.emplace_back(&step.adapter->weights, *factor);
  }
  for (const RowsStep& step : rows_) all.emplace_back(&step.adapter->weights, *step.rows->rows);
  return all;
}

void MergedTensor::decode_base(std::uint64_t first, std::span<float> values, CastReport* losses) const {
  const std::uint64_t element = bits(tensor_.dtype) / 8;
  thread_local std::vector<std::byte> bytes;
  bytes.resize(values.size() * static_cast<std::size_t>(element));
  base_.read(tensor_, first * element, bytes, losses);
  CastReport report;
  if (fits_float(tensor_.dtype))
    decode(tensor_.dtype, bytes, values);
  else
    cast(tensor_.dtype, Dtype::kF32, bytes, std::as_writable_bytes(values), report);
}

// Factors live as long as somebody reads the tensor: each thread keeps the last few that it used.
std::shared_ptr<const MergedTensor::Factors> MergedTensor::factors_of(std::size_t step) {
  thread_local std::array<std::shared_ptr<const Factors>, 4> latest;
  thread_local std::size_t next = 0;
  const auto keep = [&](std::shared_ptr<const Factors> factors) {
    if (std::find(latest.begin(), latest.end(), factors) == latest.end())
      latest[next++ % latest.size()] = factors;
    return factors;
  };
  const std::lock_guard<std::mutex> lock(mutex_);
  if (std::shared_ptr<const Factors> there = factors_[step].lock()) return keep(std::move(there));
  auto made = std::make_shared<Factors>(arrange(steps_[step]));
  if (steps_[step].module->magnitude != nullptr) measure_magnitudes(steps_[step], *made);
  factors_[step] = made;
  return keep(std::move(made));
}

// The factors of a step in the order of the stored tensor: cut out of a stack of experts, and turned.
MergedTensor::Factors MergedTensor::arrange(const MergeStep& step) {
  const LoraModule& module = *step.module;
  const DeltaShape& shape = step.shape;
  const std::shared_ptr<const LoadedPair> loaded = load_pair(*step.adapter, module);
  const std::vector<float>&a = loaded->a, &b = loaded->b;
  Factors f;
  f.rank = module.a->shape[0] / shape.of_experts;
  f.rows = shape.transposed ? shape.in : shape.out;
  f.columns = shape.transposed ? shape.out : shape.in;
  f.by_column = shape.transposed;
  const auto r = static_cast<std::size_t>(f.rank), experts = static_cast<std::size_t>(shape.experts),
             total = static_cast<std::size_t>(shape.of_experts),
             from = static_cast<std::size_t>(shape.first_expert),
             row = static_cast<std::size_t>(shape.first_out), in = static_cast<std::size_t>(shape.in),
             out = static_cast<std::size_t>(shape.out);
  f.left.resize(experts * static_cast<std::size_t>(f.rows) * r);
  f.right.resize(experts * r * static_cast<std::size_t>(f.columns));
  const auto a_at = [&](std::size_t e, std::size_t k, std::size_t i) {
    return a[((from + e) * r + k) * in + i];
  };
  const auto b_at = [&](std::size_t e, std::size_t o, std::size_t k) {
    return b[((row + o) * r + k) * total + from + e];
  };
  for (std::size_t e = 0; e < experts; ++e) {
    for (std::size_t k = 0; k < r; ++k) {
      for (std::size_t i = 0; i < in; ++i)
        (shape.transposed ? f.left[(e * in + i) * r + k] : f.right[(e * r + k) * in + i]) = a_at(e, k, i);
      for (std::size_t o = 0; o < out; ++o)
        (shape.transposed ? f.right[(e * r + k) * out + o] : f.left[(e * out + o) * r + k]) = b_at(e, o, k);
    }
  }
  return f;
}

// DoRA: the norm of every output of W0 + delta, by a pass over the base in pieces of 1 MiB.
void MergedTensor::measure_magnitudes(const MergeStep& step, Factors& f) const {
  const LoraModule& module = *step.module;
  const std::vector<float> magnitude = load(*step.adapter, module, *module.magnitude);
  const auto outputs = static_cast<std::size_t>(step.shape.out);
  std::vector<double> squares(outputs);
  std::vector<float> values;
  const std::uint64_t count = step.count(),
                      piece = std::max<std::uint64_t>(1, (1U << 18) / f.columns) * f.columns;
  for (std::uint64_t at = 0; at < count; at += piece) {
    check_interrupt();
    values.resize(static_cast<std::size_t>(std::min(piece, count - at)));
    decode_base(step.shape.begin + at, values, nullptr);
    f.add(at, values, step.scale);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint64_t element = at + i;
      const auto o = static_cast<std::size_t>(f.by_column ? element % f.columns : element / f.columns);
      squares[o] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
  }
  f.magnitudes.resize(outputs);
  for (std::size_t o = 0; o < outputs; ++o) {
    const auto norm = static_cast<float>(std::sqrt(squares[o]));
    if (norm == 0)
      throw malformed("a row of zeros has no direction for DoRA").in_file(escape_name(module.name));
    f.magnitudes[o] = magnitude[o] / norm;
  }
}

void MergedTensor::add_steps(std::uint64_t first, std::span<float> values) {
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const MergeStep& step = steps_[i];
    const std::uint64_t begin = std::max(first, step.shape.begin),
                        end = std::min(first + values.size(), step.shape.begin + step.count());
    if (begin >= end) continue;
    const std::span<float> part =
        values.subspan(static_cast<std::size_t>(begin - first), static_cast<std::size_t>(end - begin));
    const std::uint64_t at = begin - step.shape.begin;
    if (step.is_bias) {
      const std::vector<float> bias = load(*step.adapter, *step.module, *step.module->bias);
      for (std::size_t k = 0; k < part.size(); ++k)
        part[k] += step.scale * bias[static_cast<std::size_t>(at) + k];
      continue;
    }
    const std::shared_ptr<const Factors> factors = factors_of(i);
    factors->add(at, part, step.scale);
    factors->apply_magnitudes(at, part);
  }
}

void MergedTensor::replace_rows(std::uint64_t first, std::span<float> values) {
  for (const RowsStep& step : rows_) {
    const ReplacedRows& rows = *step.rows;
    std::vector<float> row(static_cast<std::size_t>(columns_));
    for (std::size_t k = 0; k < rows.ids.size(); ++k) {
      const std::uint64_t begin = rows.ids[k] * columns_, end = begin + columns_;
      if (end <= first || begin >= first + values.size()) continue;
      const std::uint64_t element = bits(rows.rows->dtype) / 8;
      std::vector<std::byte> bytes(static_cast<std::size_t>(columns_ * element));
      step.adapter->weights.read(*rows.rows, k * columns_ * element, bytes);
      CastReport report;
      cast(rows.rows->dtype, Dtype::kF32, bytes, std::as_writable_bytes(std::span(row)), report);
      const std::uint64_t from = std::max(begin, first),
                          to = std::min<std::uint64_t>(end, first + values.size());
      std::copy(row.begin() + static_cast<std::ptrdiff_t>(from - begin),
                row.begin() + static_cast<std::ptrdiff_t>(to - begin),
                values.begin() + static_cast<std::ptrdiff_t>(from - first));
    }
  }
}

void MergedTensor::read(std::uint64_t at, std::span<std::byte> out, CastReport* losses) {
  const std::uint64_t element = bits(tensor_.dtype) / 8;
  thread_local std::vector<float> values;
  values.resize(out.size() / static_cast<std::size_t>(element));
  const std::uint64_t first = at / element;
  decode_base(first, values, losses);
  add_steps(first, values);
  replace_rows(first, values);
  CastReport report;
  cast(Dtype::kF32, tensor_.dtype, std::as_bytes(std::span(values)), out, report);
  if (report.overflowed > 0)
    throw malformed(fmt::format("the merged values of '{}' are out of the range of {}",
                                escape_name(tensor_.name), short_name(tensor_.dtype)))
        .hint("choose a wider type for it with --dtype");
}

}  // namespace mu
