// SPDX-License-Identifier: Apache-2.0
#include "lora/merge_base.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/text.h"
#include "lora/parameters.h"
#include "weights/layout.h"

namespace mu {

MergeBase::MergeBase(Input& input, const std::vector<TiedName>& tied)
    : input_(input), ties_(input.config, input.weights) {
  result.tied = tied;
  index();
}

void MergeBase::index() {
  place_.clear();
  for (std::size_t i = 0; i < input_.weights.tensors.size(); ++i)
    place_.emplace(input_.weights.tensors[i].name, i);
}

Tensor* MergeBase::find(const std::string& name) {
  const auto at = place_.find(name);
  return at == place_.end() ? nullptr : &input_.weights.tensors[at->second];
}

const Tensor* MergeBase::find_or_tied(const std::string& name) {
  const auto dropped = std::find_if(result.tied.begin(), result.tied.end(),
                                    [&](const TiedName& pair) { return pair.dropped == name; });
  std::string kept = same_as(name).front();
  if (dropped != result.tied.end())
    kept = dropped->kept;
  else if (!contains(name))
    kept = source_of(name);
  if (kept == name || kept.empty()) return find(name);
  note(fmt::format("{} is tied to {}: both change", escape_name(name), escape_name(kept)));
  return find(kept);
}

namespace {

// No names if it is not a stack of matrices. Those of one expert follow one another there, gate and up.
StackedParts stack_of(const Parameter& one) {
  const std::size_t parts = one.made_of.size();
  if (parts < 2 || one.values.shape.size() != 3) return {};
  const std::size_t experts = static_cast<std::size_t>(one.values.shape[0]);
  const bool is_stack = experts > 0 && parts % experts == 0 &&
                        std::all_of(one.made_of.begin(), one.made_of.end(),
                                    [](const Tensor* part) { return part->shape.size() == 2; });
  StackedParts stack{one.values.shape, {}};
  for (std::size_t i = 0; is_stack && i < parts; ++i) {
    const std::size_t expert = i / (parts / experts), kind = i % (parts / experts);
    stack.names.push_back(one.made_of[kind * experts + expert]->name);
  }
  return stack;
}

}  // namespace

const StackedParts* MergeBase::parts_of(const std::string& parameter) {
  if (!stacks_) {
    stacks_.emplace();
    for (const Parameter& one : parameters_of(input_, input_).base) {
      if (StackedParts stack = stack_of(one); !stack.names.empty())
        stacks_->emplace(one.name, std::move(stack));
    }
  }
  const auto at = stacks_->find(parameter);
  return at == stacks_->end() ? nullptr : &at->second;
}

void MergeBase::add(Tensor tensor) {
  place_.emplace(tensor.name, input_.weights.tensors.size());
  input_.weights.tensors.push_back(std::move(tensor));
}

void MergeBase::remove(const std::set<std::string>& names) {
  std::erase_if(input_.weights.tensors, [&](const Tensor& tensor) { return names.contains(tensor.name); });
  std::erase_if(result.tied, [&](const TiedName& pair) {
    return names.contains(pair.dropped) || names.contains(pair.kept);
  });
  index();
}

bool MergeBase::is_tied(const std::string& name) const {
  return !contains(name) || std::any_of(result.tied.begin(), result.tied.end(),
                                        [&name](const TiedName& pair) { return pair.dropped == name; });
}

std::string MergeBase::source_of(const std::string& name) const {
  return is_tied(name) ? ties_.kept_name_of(name) : "";
}

std::vector<std::string> MergeBase::tied_to(const std::string& source) const {
  std::vector<std::string> names = ties_.names_tied_to(source);
  std::erase_if(names, [this](const std::string& name) { return !is_tied(name); });
  return names;
}

bool MergeBase::untie(const std::string& source) {
  std::optional<std::vector<TiedName>> pairs = ties_.names_to_untie();
  const bool all = pairs.has_value();
  if (!all) {
    pairs.emplace();
    for (std::string& name : tied_to(source)) {
      if (!contains(name)) pairs->push_back({std::move(name), source, false});
    }
  }
  for (const TiedName& pair : result.tied) {
    if (all || pair.kept == source) pairs->push_back(pair);
  }
  std::map<std::string, std::vector<std::string>> groups;
  for (const TiedName& pair : *pairs)
    groups.try_emplace(pair.kept, 1, pair.kept).first->second.push_back(pair.dropped);
  for (auto& [kept, names] : groups) same_.push_back(std::move(names));
  std::vector<Tensor> copies;
  for (const TiedName& pair : *pairs) {
    const Tensor* const kept = find(pair.kept);
    if (kept == nullptr || contains(pair.dropped)) continue;
    copies.push_back(*kept);
    copies.back().name = pair.dropped;
  }
  for (Tensor& copy : copies) add(std::move(copy));
  std::erase_if(result.tied, [&](const TiedName& pair) { return all || pair.kept == source; });
  if (all) ties_ = Ties();
  result.unties = result.unties || all;
  return all;
}

void MergeBase::leave(const std::string& name) {
  for (std::vector<std::string>& names : same_) std::erase(names, name);
}

std::vector<std::string> MergeBase::same_as(const std::string& name) const {
  for (const std::vector<std::string>& names : same_) {
    if (std::find(names.begin(), names.end(), name) != names.end()) return names;
  }
  return {name};
}

void MergeBase::note(std::string text) {
  if (std::find(result.notes.begin(), result.notes.end(), text) == result.notes.end())
    result.notes.push_back(std::move(text));
}

void compute_tensor(Tensor& tensor, std::vector<std::pair<const Weights*, Tensor>> from, Compute compute) {
  auto layout = std::make_shared<Layout>();
  layout->others = std::move(from);
  layout->compute = std::move(compute);
  tensor.layout = std::move(layout);
}

}  // namespace mu
