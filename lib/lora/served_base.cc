// SPDX-License-Identifier: Apache-2.0
// Published names are renamed one by one as transformers does when it loads them. Where several become one parameter,
// each an expert's, the name tells the expert, and the pattern that matched its place among the parts of an expert.
#include "lora/served_base.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.h"
#include "model/conversions.h"
#include "model/families.h"
#include "model/quantised.h"
#include "model/renaming.h"

namespace mu {
namespace {

constexpr std::string_view kWeight = ".weight";

// "A.experts.3.w1" in its parts.
struct PartName {
  std::string container, leaf;
  std::uint64_t expert = 0;
};

std::optional<PartName> parse_part(std::string_view module) {
  const std::size_t last = module.rfind('.');
  if (last == std::string_view::npos || last == 0) return std::nullopt;
  const std::size_t dot = module.rfind('.', last - 1);
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view number = module.substr(dot + 1, last - dot - 1);
  PartName part{.container = std::string(module.substr(0, dot)),
                .leaf = std::string(module.substr(last + 1))};
  if (!is_digits(number) || std::from_chars(number.begin(), number.end(), part.expert).ec != std::errc())
    return std::nullopt;
  return part;
}

// What servers call the parts of an expert whose stack is published as it is.
std::vector<std::string> leaves_of(std::string_view parameter) {
  if (parameter == "gate_up_proj") return {"gate_proj", "up_proj"};
  return {std::string(parameter)};
}

// The tensors as they would be without quantisation, as far as names and shapes tell. A shape that they don't tell is
// empty.
std::vector<Tensor> plain_tensors(const std::vector<Tensor>& tensors) {
  const std::vector<QuantPart> parts = quant_parts(tensors);
  std::vector<Tensor> list;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const QuantPart& part = parts[i];
    if (part.role == QuantRole::kScale || part.role == QuantRole::kMarker) continue;
    Tensor tensor = tensors[i];
    const bool is_renamed =
        part.role == QuantRole::kWeight && tensor.name != part.module + std::string(kWeight);
    if (is_renamed) {
      const std::vector<std::uint64_t> stored = std::move(tensor.shape);
      tensor.name = part.module + (part.family == QuantFamily::kBlocks ? "" : std::string(kWeight));
      tensor.shape.clear();
      // gpt-oss: rows of blocks, two values a byte, turned against what is in memory.
      if (part.family == QuantFamily::kBlocks && stored.size() == 4)
        tensor.shape = {stored[0], stored[2] * stored[3] * 2, stored[1]};
    }
    list.push_back(std::move(tensor));
  }
  return list;
}

// Families whose stacks have gate and up interleaved, or turned against what PEFT takes them for.
bool has_own_order(std::string_view model_type) {
  return model_type.starts_with("gpt_oss") || model_type.starts_with("llama4");
}

}  // namespace

std::string ExpertStack::container() const {
  return memory.substr(0, memory.rfind('.'));
}

std::string ExpertStack::module(std::uint64_t expert, std::size_t leaf) const {
  return fmt::format("{}.{}.{}", published, expert, leaves[leaf]);
}

ServedBase::ServedBase(const Input& base) {
  if (base.config) {
    model_type_ = base.config->model_type;
    has_towers_ = base.config->root.find("text_config") != nullptr;
    if (!base.config->architectures.empty()) architecture_ = base.config->architectures.front();
    names_ = TensorNames::of(*base.config);
  }
  const std::vector<Tensor> tensors = plain_tensors(base.weights.tensors);
  is_memory_ = names_ != nullptr && names_->side_of(tensors).is_memory();
  if (is_memory_) {
    const Renaming published = to_published(tensors, *names_, *base.config);
    for (const Renaming::Item& item : published.items) {
      add(item.tensor);
      for (const std::size_t from : item.from) place_.emplace(tensors[from].name, tensors_.size() - 1);
    }
  } else {
    for (const Tensor& one : tensors) add(one);
  }
  find_whole_stacks();
}

void ServedBase::add(const Tensor& tensor) {
  ServedTensor one{.published = tensor.name, .memory = tensor.name, .shape = tensor.shape};
  if (names_ != nullptr) {
    const RenamedTensor renamed = names_->load(tensor.name);
    one.memory = renamed.name;
    // A class may convert values under one name (qwen3_vl_moe turns experts that an old file has turned).
    if (renamed.conversion != nullptr && renamed.name != tensor.name) add_part(one, renamed);
  }
  place_.emplace(one.published, tensors_.size());
  tensors_.push_back(std::move(one));
}

void ServedBase::add_part(ServedTensor& one, const RenamedTensor& renamed) {
  one.is_made = true;
  if (!one.published.ends_with(kWeight) || !makes_one_stack(*renamed.conversion) || one.shape.size() != 2)
    return;
  const std::optional<PartName> part =
      parse_part(std::string_view(one.published).substr(0, one.published.size() - kWeight.size()));
  if (!part) return;
  ExpertStack& stack = stacks_[renamed.name];
  stack.memory = renamed.name;
  stack.published = part->container;
  stack.leaves.resize(renamed.conversion->match.size());
  stack.leaves[renamed.pattern] = part->leaf;
  stack.experts = std::max(stack.experts, part->expert + 1);
  stack.out = one.shape[0] * stack.leaves.size();
  stack.in = one.shape[1];
  one.is_part = true;
  one.expert = part->expert;
  one.leaf = renamed.pattern;
}

void ServedBase::find_whole_stacks() {
  std::vector<const ServedTensor*> whole;
  for (const ServedTensor& one : tensors_) {
    const std::string_view parameter = std::string_view(one.memory).substr(one.memory.rfind('.') + 1);
    const bool known =
        std::find(kExpertParameters.begin(), kExpertParameters.end(), parameter) != kExpertParameters.end();
    if (known && !one.is_part && one.shape.size() == 3) whole.push_back(&one);
  }
  const auto shape_of = [&](const std::string& memory) {
    const auto at = std::find_if(whole.begin(), whole.end(),
                                 [&](const ServedTensor* one) { return one->memory == memory; });
    return at == whole.end() ? std::vector<std::uint64_t>{} : (*at)->shape;
  };
  for (const ServedTensor* one : whole) {
    ExpertStack stack{.memory = one->memory,
                      .published = one->published.substr(0, one->published.rfind('.')),
                      .leaves = leaves_of(one->memory.substr(one->memory.rfind('.') + 1)),
                      .is_whole = true};
    const std::string container = stack.container();
    const bool turned = has_transposed_experts(shape_of(container + ".gate_up_proj"),
                                               shape_of(container + ".down_proj"), model_type_);
    stack.experts = one->shape[0];
    stack.out = one->shape[turned ? 2 : 1];
    stack.in = one->shape[turned ? 1 : 2];
    const bool is_parameter = one->published.ends_with(stack.memory.substr(container.size()));
    stack.is_divisible = is_parameter && !has_own_order(model_type_) && stack.out % stack.leaves.size() == 0;
    stacks_[one->memory] = std::move(stack);
  }
}

const ServedTensor* ServedBase::tensor(const std::string& name) const {
  const auto at = place_.find(name);
  return at == place_.end() ? nullptr : &tensors_[at->second];
}

ServedTensor ServedBase::absent(const std::string& name) const {
  ServedTensor one{.published = name, .memory = name, .shape = {}};
  if (names_ == nullptr) return one;
  (is_memory_ ? one.published : one.memory) = is_memory_ ? names_->published(name) : names_->memory(name);
  return one;
}

const ExpertStack* ServedBase::stack(const std::string& name) const {
  const ServedTensor* const one = tensor(name);
  const auto at = stacks_.find(one == nullptr ? name : one->memory);
  return at == stacks_.end() ? nullptr : &at->second;
}

ServedBase::Part ServedBase::part(const std::string& module) const {
  if (const ServedTensor* const one = tensor(module + std::string(kWeight)); one != nullptr && one->is_part)
    return {stack(one->memory), one->expert, one->leaf};
  const std::optional<PartName> part = parse_part(module);
  if (!part) return {};
  for (const auto& [memory, stack] : stacks_) {
    if (stack.published != part->container || part->expert >= stack.experts || !stack.is_divisible) continue;
    const auto leaf = std::find(stack.leaves.begin(), stack.leaves.end(), part->leaf);
    if (leaf != stack.leaves.end())
      return {&stack, part->expert, static_cast<std::size_t>(leaf - stack.leaves.begin())};
  }
  return {};
}

std::vector<const ExpertStack*> ServedBase::stacks_in(const std::string& container) const {
  std::vector<const ExpertStack*> list;
  for (const std::string_view parameter : kExpertParameters) {
    const auto at = stacks_.find(fmt::format("{}.{}", container, parameter));
    if (at != stacks_.end()) list.push_back(&at->second);
  }
  return list;
}

bool ServedBase::is_of_language_model(const std::string& memory_name) const {
  if (!has_towers_) return true;
  const std::vector<std::string_view> parts = split(memory_name, '.');
  return parts.front() == "lm_head" || std::find(parts.begin(), parts.end(), "language_model") != parts.end();
}

}  // namespace mu
