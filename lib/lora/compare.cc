// SPDX-License-Identifier: Apache-2.0
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

namespace mu {
namespace {

std::vector<double> load(const Adapter& adapter, const Tensor& tensor) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  adapter.weights.read(tensor, 0, bytes);
  std::vector<double> values(static_cast<std::size_t>(tensor.element_count()));
  decode(tensor.dtype, bytes, std::span(values));
  if (!std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); }))
    throw malformed(fmt::format("'{}' holds NaN or infinity", escape_name(tensor.name)))
        .in_file(escape_name(adapter.name));
  return values;
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

Tensor made_tensor(const Tensor& old, std::vector<std::uint64_t> shape, std::vector<float> values) {
  Tensor tensor = old;
  tensor.shape = std::move(shape);
  tensor.size = tensor.element_count() * bits(tensor.dtype) / 8;
  std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.size));
  CastReport report;
  cast(Dtype::kF32, tensor.dtype, std::as_bytes(std::span(values)), bytes, report);
  auto layout = std::make_shared<Layout>();
  layout->compute = [bytes = std::make_shared<const std::vector<std::byte>>(std::move(bytes))](
                        std::uint64_t at, std::span<std::byte> out) {
    std::copy_n(bytes->begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  };
  tensor.layout = std::move(layout);
  return tensor;
}

}  // namespace

std::vector<ModuleComparison> compare_adapters(const Adapter& a, const Adapter& b) {
  std::map<std::string, std::pair<const LoraModule*, const LoraModule*>> modules;
  for (const LoraModule& module : a.modules) modules[module.name].first = &module;
  for (const LoraModule& module : b.modules) modules[module.name].second = &module;
  std::vector<ModuleComparison> list;
  for (const auto& [name, pair] : modules) {
    check_interrupt();
    ModuleComparison one{.name = name, .in_a = pair.first != nullptr, .in_b = pair.second != nullptr};
    one.rank_a = one.in_a ? pair.first->rank : 0;
    one.rank_b = one.in_b ? pair.second->rank : 0;
    if (one.in_a && one.in_b) {
      const LoraModule &x = *pair.first, &y = *pair.second;
      if (x.a->shape[1] != y.a->shape[1] || x.b->shape[0] != y.b->shape[0])
        throw malformed(fmt::format("{}: the deltas of the two adapters differ in shape", escape_name(name)))
            .in_file(escape_name(b.name));
      one.deltas = compare_deltas(load(a, x), load(b, y));
    } else {
      one.deltas.distance = 1;
    }
    list.push_back(std::move(one));
  }
  return list;
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

}  // namespace mu
