// SPDX-License-Identifier: Apache-2.0
#include "inspect/joined.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>

#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::size_t kNone = SIZE_MAX;

std::string type_of(const QuantModule& module, const Tensor& weight) {
  if (module.values > 0) return fmt::format("{:.2f} bits", module.bits());
  return std::string(type_text(weight)) + (module.companions.empty() ? "" : " + scales");
}

}  // namespace

JoinedTensors join_quantised(const Input& input, const QuantSummary& summary,
                             const std::vector<const Tensor*>& tensors) {
  const std::vector<Tensor>& all = input.weights.tensors;
  const auto index = [&all](const Tensor* tensor) { return static_cast<std::size_t>(tensor - all.data()); };
  std::vector<bool> is_chosen(all.size(), false);
  for (const Tensor* tensor : tensors) is_chosen[index(tensor)] = true;
  std::vector<std::size_t> module_of(all.size(), kNone);
  for (std::size_t i = 0; i < summary.modules.size(); ++i) {
    const QuantModule& module = summary.modules[i];
    if (!is_chosen[module.weight]) continue;
    module_of[module.weight] = i;
    for (const std::size_t companion : module.companions) module_of[companion] = i;
  }
  JoinedTensors joined;
  std::map<std::string, std::shared_ptr<const Layout>> types;
  for (const Tensor* tensor : tensors) {
    const std::size_t at = module_of[index(tensor)];
    if (at == kNone) {
      joined.tensors.push_back(tensor);
      continue;
    }
    const QuantModule& module = summary.modules[at];
    if (module.weight != index(tensor)) continue;
    const std::string type = type_of(module, *tensor);
    std::shared_ptr<const Layout>& layout = types[type];
    if (!layout) layout = std::make_shared<const Layout>(Layout{.type = type});
    joined.made.push_back({module.name, Dtype::kForeign, module.values > 0 ? module.shape : tensor->shape,
                           tensor->source, tensor->offset, module.bytes, layout});
    joined.tensors.push_back(&joined.made.back());
  }
  return joined;
}

}  // namespace mu
