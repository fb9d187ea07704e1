// SPDX-License-Identifier: Apache-2.0
// Everything that an adapter holds is compared, by name: a delta by its factors, whose product is never made, and any
// other tensor by its values, in pieces. Experts in one pair of factors are taken apart first, in the layout of PEFT
// 0.20 and later: rows e * rank and following of A belong to expert e, and of B each column k * experts + e. Trained
// rows are compared token by token. To resize an adapter, each delta is decomposed and cut the same way.
#include "lora/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "os/interrupt.h"
#include "tensor/cast.h"
#include "tensor/decode.h"
#include "weights/layout.h"
#include "weights/leaves.h"

namespace mu {
namespace {

void require_finite(const std::vector<double>& values, const Tensor& tensor, const Adapter& adapter) {
  if (!std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }))
    throw malformed(fmt::format("'{}' holds NaN or infinity", escape_name(tensor.name)))
        .in_file(escape_name(adapter.name));
}

std::vector<double> load(const Adapter& adapter, const Tensor& tensor) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  adapter.weights.read(tensor, 0, bytes);
  std::vector<double> values(static_cast<std::size_t>(tensor.element_count()));
  decode(tensor.dtype, bytes, std::span(values));
  require_finite(values, tensor, adapter);
  return values;
}

// One delta of an adapter: that of a module, or of one expert of a stack.
struct DeltaOf {
  const LoraModule* module = nullptr;
  std::size_t rank = 0, expert = 0, experts = 1;
  double scale = 0;
};

std::map<std::string, DeltaOf> deltas_of(const Adapter& adapter) {
  std::map<std::string, DeltaOf> deltas;
  for (const LoraModule& module : adapter.modules) {
    if (module.a == nullptr || module.b == nullptr || module.a->shape.size() != 2 ||
        module.b->shape.size() != 2 || module.a->shape[0] != module.b->shape[1])
      throw malformed(fmt::format("{}: its factors don't fit each other", escape_name(module.name)))
          .in_file(escape_name(adapter.name));
    const std::string stack = stack_of(module, adapter.config);
    const auto rows = static_cast<std::size_t>(module.a->shape[0]);
    if (stack.empty()) {
      deltas[module.name] = {&module, rows, 0, 1, adapter.config.scale_of(module.name)};
      continue;
    }
    const auto rank = static_cast<std::size_t>(adapter.config.rank_of(stack));
    if (rank == 0 || rows % rank != 0)
      throw malformed(fmt::format("{}: {} rows don't divide into experts of rank {}",
                                  escape_name(module.name), rows, rank))
          .in_file(escape_name(adapter.name));
    const double scale = adapter.config.scale_of(stack);
    for (std::size_t expert = 0; expert < rows / rank; ++expert)
      deltas[fmt::format("{}[{}]", stack, expert)] = {&module, rank, expert, rows / rank, scale};
  }
  return deltas;
}

Factors load(const Adapter& adapter, const LoraModule& module) {
  Factors factors{.a = load(adapter, *module.a),
                  .b = load(adapter, *module.b),
                  .rows = static_cast<std::size_t>(module.b->shape[0]),
                  .columns = static_cast<std::size_t>(module.a->shape[1]),
                  .rank = static_cast<std::size_t>(module.a->shape[0])};
  for (double& value : factors.b) value *= module.scale;
  return factors;
}

// Reads the deltas of an adapter, and keeps the values of the last module: its experts come one after the other.
class DeltaReader {
 public:
  explicit DeltaReader(const Adapter& adapter) : adapter_(adapter) {}

  // Of an expert, rows rank * expert and following of A, and the columns of B that are its own.
  Factors read(const DeltaOf& delta) {
    const LoraModule& module = *delta.module;
    if (module_ != &module) {
      a_ = load(adapter_, *module.a);
      b_ = load(adapter_, *module.b);
      module_ = &module;
    }
    Factors factors{.a = {},
                    .b = {},
                    .rows = static_cast<std::size_t>(module.b->shape[0]),
                    .columns = static_cast<std::size_t>(module.a->shape[1]),
                    .rank = delta.rank};
    const std::size_t size = delta.rank * factors.columns;
    const auto first = a_.begin() + static_cast<std::ptrdiff_t>(delta.expert * size);
    factors.a.assign(first, first + static_cast<std::ptrdiff_t>(size));
    for (std::size_t row = 0; row < factors.rows; ++row) {
      for (std::size_t k = 0; k < delta.rank; ++k)
        factors.b.push_back(delta.scale * b_[(row * delta.rank + k) * delta.experts + delta.expert]);
    }
    return factors;
  }

 private:
  const Adapter& adapter_;
  const LoraModule* module_ = nullptr;
  std::vector<double> a_, b_;
};

std::vector<ModuleComparison> compare_modules(const Adapter& a, const Adapter& b) {
  const std::map<std::string, DeltaOf> left = deltas_of(a), right = deltas_of(b);
  std::map<std::string, std::pair<const DeltaOf*, const DeltaOf*>> all;
  for (const auto& [name, delta] : left) all[name].first = &delta;
  for (const auto& [name, delta] : right) all[name].second = &delta;
  DeltaReader reader_a(a), reader_b(b);
  std::vector<ModuleComparison> list;
  for (const auto& [name, pair] : all) {
    check_interrupt();
    ModuleComparison one{.name = name, .in_a = pair.first != nullptr, .in_b = pair.second != nullptr};
    one.rank_a = one.in_a ? pair.first->rank : 0;
    one.rank_b = one.in_b ? pair.second->rank : 0;
    if (one.in_a && one.in_b) {
      const LoraModule &x = *pair.first->module, &y = *pair.second->module;
      if (x.a->shape[1] != y.a->shape[1] || x.b->shape[0] != y.b->shape[0])
        throw malformed(fmt::format("{}: the deltas of the two adapters differ in shape", escape_name(name)))
            .in_file(escape_name(b.name));
      one.deltas = compare_deltas(reader_a.read(*pair.first), reader_b.read(*pair.second));
    } else {
      one.deltas.distance = 1;
    }
    list.push_back(std::move(one));
  }
  return list;
}

// A tensor of an adapter that is not a factor.
struct TensorOf {
  const Tensor* tensor = nullptr;
  std::uint64_t first = 0, count = 0;  // elements: all, or one trained row
  double scale = 1;
};

std::map<std::string, TensorOf> tensors_of(const Adapter& adapter) {
  std::map<std::string, TensorOf> tensors;
  const auto add = [&](const std::string& name, const Tensor* tensor, double scale) {
    if (tensor != nullptr) tensors[name] = {tensor, 0, tensor->element_count(), scale};
  };
  for (const LoraModule& module : adapter.modules) {
    add(module.name + ".lora_magnitude_vector", module.magnitude, 1);
    add(module.name + ".lora_B.bias", module.bias, module.scale);
  }
  for (const ReplacedTensor& replaced : adapter.replaced) add(replaced.name, replaced.tensor, 1);
  for (const ReplacedRows& rows : adapter.rows) {
    const std::uint64_t width = rows.rows->shape[1];
    for (std::size_t i = 0; i < rows.ids.size(); ++i)
      tensors[fmt::format("{}[{}]", rows.module, rows.ids[i])] = {rows.rows, i * width, width, 1};
  }
  return tensors;
}

// The distance of two tensors of the same number of elements, read in pieces.
double distance_of(const Adapter& a, const TensorOf& left, const Adapter& b, const TensorOf& right) {
  constexpr std::uint64_t kPiece = 1U << 18;  // elements
  const auto read = [](const Adapter& adapter, const TensorOf& one, std::uint64_t at,
                       std::vector<double>& values) {
    const std::uint64_t element = bits(one.tensor->dtype) / 8;
    std::vector<std::byte> bytes(values.size() * element);
    adapter.weights.read(*one.tensor, (one.first + at) * element, bytes);
    decode(one.tensor->dtype, bytes, std::span(values));
    require_finite(values, *one.tensor, adapter);
    for (double& value : values) value *= one.scale;
  };
  double difference = 0, squares_a = 0, squares_b = 0;
  std::vector<double> x, y;
  for (std::uint64_t at = 0; at < left.count; at += kPiece) {
    check_interrupt();
    x.resize(static_cast<std::size_t>(std::min(kPiece, left.count - at)));
    y.resize(x.size());
    read(a, left, at, x);
    read(b, right, at, y);
    for (std::size_t i = 0; i < x.size(); ++i) {
      difference += (x[i] - y[i]) * (x[i] - y[i]);
      squares_a += x[i] * x[i];
      squares_b += y[i] * y[i];
    }
  }
  const double largest = std::max(squares_a, squares_b);
  return largest > 0 ? std::sqrt(difference / largest) : 0;
}

std::vector<TensorComparison> compare_tensors(const Adapter& a, const Adapter& b) {
  const std::map<std::string, TensorOf> left = tensors_of(a), right = tensors_of(b);
  std::map<std::string, std::pair<const TensorOf*, const TensorOf*>> all;
  for (const auto& [name, one] : left) all[name].first = &one;
  for (const auto& [name, one] : right) all[name].second = &one;
  std::vector<TensorComparison> list;
  for (const auto& [name, pair] : all) {
    const auto& [x, y] = pair;
    TensorComparison one{.name = name, .in_a = x != nullptr, .in_b = y != nullptr};
    const bool rows = one.in_a && one.in_b && x->count != x->tensor->element_count();
    if (one.in_a && one.in_b && (rows ? x->count == y->count : x->tensor->shape == y->tensor->shape))
      one.distance = distance_of(a, *x, b, *y);
    list.push_back(std::move(one));
  }
  return list;
}

Tensor made_tensor(const Tensor& old, std::vector<std::uint64_t> shape, std::vector<float> values) {
  Tensor tensor = old;
  tensor.shape = std::move(shape);
  tensor.size = tensor.element_count() * bits(tensor.dtype) / 8;
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  CastReport report;
  cast(Dtype::kF32, tensor.dtype, std::as_bytes(std::span(values)), bytes, report);
  auto layout = std::make_shared<Layout>();
  layout->compute = [bytes = std::make_shared<const std::vector<std::byte>>(std::move(bytes))](
                        const Sources&, std::uint64_t at, std::span<std::byte> out) {
    std::copy_n(bytes->begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  };
  tensor.layout = std::move(layout);
  return tensor;
}

}  // namespace

AdapterComparison compare_adapters(const Adapter& a, const Adapter& b) {
  return {compare_modules(a, b), compare_tensors(a, b)};
}

Resized resize_adapter(const std::shared_ptr<const Adapter>& adapter, Input input, std::uint64_t rank) {
  Resized result;
  std::map<const Tensor*, Tensor> made;
  for (const LoraModule& module : adapter->modules) {
    check_interrupt();
    if (module.a == nullptr || module.b == nullptr || !adapter->config.target_parameters.empty())
      throw malformed(fmt::format("{}: stacks of experts can't be resized", escape_name(module.name)))
          .in_file(escape_name(adapter->name));
    CutDelta cut = cut_delta(load(*adapter, module), static_cast<std::size_t>(rank));
    made.emplace(module.a, made_tensor(*module.a, {rank, module.a->shape[1]}, std::move(cut.a)));
    made.emplace(module.b, made_tensor(*module.b, {module.b->shape[0], rank}, std::move(cut.b)));
    // The bias of lora_bias is scaled like the delta.
    if (module.bias != nullptr && module.scale != 1) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(module.bias->size));
      adapter->weights.read(*module.bias, 0, bytes);
      std::vector<double> values(static_cast<std::size_t>(module.bias->element_count()));
      decode(module.bias->dtype, bytes, std::span(values));
      std::vector<float> scaled;
      for (const double value : values) scaled.push_back(static_cast<float>(value * module.scale));
      made.emplace(module.bias, made_tensor(*module.bias, module.bias->shape, std::move(scaled)));
    }
    result.modules.push_back(
        {.name = module.name, .old_rank = module.rank, .rank = cut.rank, .error = cut.error});
  }
  std::vector<ConfigEdit> values = {{{"r"}, std::to_string(rank)},
                                    {{"lora_alpha"}, std::to_string(rank)},
                                    {{"rank_pattern"}, "{}"},
                                    {{"alpha_pattern"}, "{}"}};
  if (adapter->config.use_rslora) values.push_back({{"use_rslora"}, "false"});
  result.config_text = with_config_edits(adapter->config.text, values);
  input.weights.tensors.clear();
  for (const Tensor& tensor : adapter->weights.tensors) {
    const auto at = made.find(&tensor);
    if (at == made.end())
      input.weights.tensors.push_back(tensor);
    else
      input.weights.tensors.push_back(std::move(at->second));
  }
  input.weights.files = adapter->weights.files;
  result.input = std::move(input);
  return result;
}

std::vector<FarRange> far_reads(const std::vector<const Adapter*>& adapters) {
  const bool compares = adapters.size() > 1;
  std::map<std::pair<bool, std::string>, std::vector<FarRange>> by_name;  // modules, then other tensors
  for (const Adapter* const adapter : adapters) {
    const auto add = [&](bool is_other, const std::string& name, const Tensor* tensor) {
      if (tensor != nullptr) add_far_leaves(adapter->weights, *tensor, by_name[{is_other, name}]);
    };
    for (const LoraModule& module : adapter->modules) {
      add(false, module.name, module.a);
      add(false, module.name, module.b);
      if (compares || module.scale != 1) add(compares, module.name, module.bias);
      if (compares) add(true, module.name, module.magnitude);
    }
    if (!compares) continue;
    for (const ReplacedTensor& replaced : adapter->replaced) add(true, replaced.name, replaced.tensor);
    for (const ReplacedRows& rows : adapter->rows) add(true, rows.module, rows.rows);
  }
  std::vector<FarRange> reads;
  for (const auto& [name, ranges] : by_name) reads.insert(reads.end(), ranges.begin(), ranges.end());
  return with_whole_files(joined_in_order(reads));
}

}  // namespace mu
