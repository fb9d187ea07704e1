// SPDX-License-Identifier: Apache-2.0
#include "pack/split_experts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/views.h"

namespace mu {
namespace {

constexpr std::string_view kGateUp = "gate_up_proj", kDown = "down_proj", kWeight = ".weight";

// Many more than any model has: of one stack, and of all of them.
constexpr std::uint64_t kMostExperts = 1U << 16, kMostOfAll = 1U << 20;

// A stack: its container ("model.layers.0.mlp.experts.") and which of the two it is.
struct Stack {
  std::string container;
  bool is_gate_up;
};

std::optional<Stack> stack_of(const TensorSpec& tensor) {
  if (tensor.shape.size() != 3 || !is_floating(tensor.dtype) || tensor.size == 0) return std::nullopt;
  std::string_view name = tensor.name;
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  for (const std::string_view last : {kGateUp, kDown}) {
    if (!name.ends_with(last)) continue;
    const std::string_view container = name.substr(0, name.size() - last.size());
    if (container.empty() || container.ends_with('.')) return Stack{std::string(container), last == kGateUp};
  }
  return std::nullopt;
}

// The stacks of one container. They are split together or not at all: loaders know no other way.
struct Container {
  const PackedTensor* gate_up = nullptr;
  const PackedTensor* down = nullptr;
  bool kept = true;  // every expert of both is
};

Error transposed(const PackedTensor& tensor) {
  return refused(fmt::format(
                     "'{}' {} is a stack of experts with the input first, as gpt-oss and Llama 4 have them: "
                     "how to quantise it is not settled",
                     escape_name(tensor.output.name), shape_text(tensor.output.shape)))
      .hint("--keep '*.experts.*' leaves experts as they are");
}

Error must_be_split(const Container& pair) {
  const PackedTensor& any = pair.gate_up != nullptr ? *pair.gate_up : *pair.down;
  return refused(
      fmt::format("'{}' is a stack of experts, which has to be split to be quantised, but --names "
                  "as-is keeps names as they are",
                  escape_name(any.output.name)));
}

// Why the stacks can't be split; shapes tell the layouts apart where both are there.
std::optional<Error> misfit(const Container& pair, std::string_view model_type) {
  const PackedTensor& any = pair.gate_up != nullptr ? *pair.gate_up : *pair.down;
  if (model_type == "gpt_oss" || model_type.starts_with("llama4")) return transposed(any);
  if (pair.gate_up != nullptr && pair.gate_up->output.shape[1] % 2 != 0)
    return malformed(
        fmt::format("'{}' {} has no two halves", escape_name(any.output.name), shape_text(any.output.shape)));
  if (pair.gate_up == nullptr || pair.down == nullptr) return std::nullopt;
  const std::vector<std::uint64_t>& up = pair.gate_up->output.shape;
  const std::vector<std::uint64_t>& down = pair.down->output.shape;
  if (up[0] == down[0] && up[1] / 2 == down[2] && up[2] == down[1]) return std::nullopt;
  if (up[0] == down[0] && up[1] == down[2] && up[2] % 2 == 0 && up[2] / 2 == down[1]) return transposed(any);
  return malformed(fmt::format("'{}' {} and '{}' {} are not stacks of the same experts",
                               escape_name(pair.gate_up->output.name), shape_text(up),
                               escape_name(pair.down->output.name), shape_text(down)));
}

// The names of what a stack falls into, expert by expert.
std::vector<std::string> split_names(const Stack& stack, std::uint64_t experts) {
  std::vector<std::string> names;
  for (std::uint64_t i = 0; i < experts; ++i) {
    const std::string expert = fmt::format("{}{}.", stack.container, i);
    if (stack.is_gate_up) {
      names.push_back(expert + "gate_proj");
      names.push_back(expert + "up_proj");
    } else {
      names.push_back(expert + "down_proj");
    }
  }
  return names;
}

void add_views(const PackedTensor& stack, std::vector<Tensor>& views, std::vector<PackedTensor>& out) {
  const std::vector<std::string> names = expert_modules(stack.output);
  const std::uint64_t experts = stack.output.shape[0], halves = names.size() / experts;
  const std::uint64_t rows = stack.output.shape[1] / halves;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Tensor expert = select(*stack.input, 0, i / halves);
    Tensor& view = views.emplace_back(halves == 1 ? expert : slice(expert, 0, i % halves * rows, rows));
    view.name = names[i] + std::string(kWeight);
    PackedTensor packed{&view, {view.name, stack.output.dtype, view.shape, 0}};
    packed.output.size = view.element_count() * (bits(stack.output.dtype) / 8);
    packed.made_of.assign(stack.sources().begin(), stack.sources().end());
    packed.block = stack.block;
    out.push_back(std::move(packed));
  }
}

std::map<std::string, Container> find_containers(const std::vector<PackedTensor>& tensors,
                                                 const std::vector<Glob>& keep) {
  std::map<std::string, Container> containers;
  std::uint64_t experts = 0;
  for (const PackedTensor& tensor : tensors) {
    const std::optional<Stack> stack = stack_of(tensor.output);
    if (!stack) continue;
    experts += tensor.output.shape[0];
    if (tensor.output.shape[0] > kMostExperts || experts > kMostOfAll)
      throw malformed(fmt::format("'{}' {} is not a stack of experts", escape_name(tensor.output.name),
                                  shape_text(tensor.output.shape)));
    const std::vector<std::string> parts = split_names(*stack, tensor.output.shape[0]);
    Container& container = containers[stack->container];
    (stack->is_gate_up ? container.gate_up : container.down) = &tensor;
    container.kept = container.kept && std::all_of(parts.begin(), parts.end(), [&](const std::string& name) {
                       return matches_any(keep, name);
                     });
  }
  return containers;
}

}  // namespace

std::vector<std::string> expert_modules(const TensorSpec& tensor) {
  const std::optional<Stack> stack = stack_of(tensor);
  return stack ? split_names(*stack, tensor.shape[0]) : std::vector<std::string>();
}

void split_experts(std::vector<PackedTensor>& tensors, const std::vector<Glob>& keep, bool as_is,
                   std::string_view model_type, std::vector<MadeTensors>& made) {
  std::set<const PackedTensor*> split;
  std::size_t count = 0;
  for (const auto& [name, container] : find_containers(tensors, keep)) {
    const std::optional<Error> fault = misfit(container, model_type);
    if (container.kept && (as_is || fault)) continue;
    if (as_is) throw must_be_split(container);
    if (fault) throw Error(*fault);
    for (const PackedTensor* const stack : {container.gate_up, container.down}) {
      if (stack == nullptr) continue;
      split.insert(stack);
      count += expert_modules(stack->output).size();
    }
  }
  if (split.empty()) return;
  const auto views = std::make_shared<std::vector<Tensor>>();
  views->reserve(count);  // pointers to its tensors stay valid
  std::vector<PackedTensor> out;
  out.reserve(tensors.size() + count);
  for (PackedTensor& tensor : tensors) {
    if (split.contains(&tensor))
      add_views(tensor, *views, out);
    else
      out.push_back(std::move(tensor));
  }
  tensors = std::move(out);
  made.push_back(views);
}

}  // namespace mu
