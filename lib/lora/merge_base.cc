// SPDX-License-Identifier: Apache-2.0
#include "lora/merge_base.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "weights/layout.h"

namespace mu {
namespace {

// "lm_head.weight" beside "model.embed_tokens.weight", with the prefix that both have.
std::string output_name_of(std::string_view input) {
  constexpr std::string_view kInput = "model.embed_tokens.weight";
  return input.ends_with(kInput)
             ? std::string(input.substr(0, input.size() - kInput.size())) + "lm_head.weight"
             : "lm_head.weight";
}

}  // namespace

MergeBase::MergeBase(Input& input, const std::vector<TiedName>& tied) : input_(input) {
  result.tied = tied;
  ties_ = input.config && input.config->tie_word_embeddings.value_or(false);
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
  const Tensor* const stored = find(name);
  std::string kept;
  if (dropped != result.tied.end())
    kept = dropped->kept;
  else if (stored == nullptr)
    kept = source_of(name);
  if (kept.empty()) return stored;
  note(fmt::format("{} is tied to {}: both change", escape_name(name), escape_name(kept)));
  return find(kept);
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

std::string MergeBase::source_of(const std::string& name) const {
  return ties_ ? kept_name_of(name, tensors_by_name(input_.weights)) : "";
}

std::vector<std::string> MergeBase::tied_to(const std::string& source) const {
  const std::string output = output_name_of(source);
  if (!ties_ || source == output || kept_name_of(output, {{source, nullptr}}) != source) return {};
  return {output};
}

void MergeBase::untie() {
  std::vector<Tensor> copies;
  for (const Tensor& tensor : input_.weights.tensors) {
    for (const std::string& name : tied_to(tensor.name)) {
      std::erase_if(result.tied, [&](const TiedName& pair) { return pair.dropped == name; });
      if (contains(name)) continue;
      copies.push_back(tensor);
      copies.back().name = name;
    }
  }
  for (Tensor& copy : copies) add(std::move(copy));
  ties_ = false;
  result.unties = true;
}

void MergeBase::note(std::string text) {
  if (std::find(result.notes.begin(), result.notes.end(), text) == result.notes.end())
    result.notes.push_back(std::move(text));
}

void compute_tensor(Tensor& tensor, std::function<void(std::uint64_t, std::span<std::byte>)> compute) {
  auto layout = std::make_shared<Layout>();
  layout->compute = std::move(compute);
  tensor.layout = std::move(layout);
}

}  // namespace mu
