// SPDX-License-Identifier: Apache-2.0
#include "model/wrappers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::array<std::string_view, 3> kAnywhere = {"_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                                       "_orig_mod."};
constexpr std::array<std::string_view, 2> kLeading = {"module.", "_forward_module."};

// Removes a wrapper that begins the name or follows a dot.
bool remove_wrapper(std::string& name, std::string_view wrapper) {
  bool removed = false;
  for (std::size_t at = name.find(wrapper); at != std::string::npos; at = name.find(wrapper, at)) {
    if (at > 0 && name[at - 1] != '.') {
      at += wrapper.size();
      continue;
    }
    name.erase(at, wrapper.size());
    removed = true;
  }
  return removed;
}

}  // namespace

std::vector<std::string> remove_wrapper_names(Weights& weights) {
  std::vector<Tensor*> tensors;
  for (Tensor& tensor : weights.tensors) {
    if (!weights.files[tensor.source].is_safetensors) tensors.push_back(&tensor);
  }
  std::vector<std::string> notes;
  const auto note = [&notes](std::string_view wrapper, std::uint64_t count) {
    notes.push_back(fmt::format("'{}' removed from {}", wrapper, plural(count, "name")));
  };
  std::unordered_map<std::string_view, std::string> before;  // new name to old
  std::vector<std::string> old_names;
  for (const Tensor* tensor : tensors) old_names.push_back(tensor->name);
  for (const std::string_view wrapper : kAnywhere) {
    const auto count = std::count_if(tensors.begin(), tensors.end(), [wrapper](Tensor* tensor) {
      return remove_wrapper(tensor->name, wrapper);
    });
    if (count > 0) note(wrapper, static_cast<std::uint64_t>(count));
  }
  for (const std::string_view wrapper : kLeading) {
    const bool all =
        !tensors.empty() && std::all_of(tensors.begin(), tensors.end(), [wrapper](const Tensor* tensor) {
          return tensor->name.size() > wrapper.size() && tensor->name.starts_with(wrapper);
        });
    if (!all) continue;
    for (Tensor* tensor : tensors) tensor->name.erase(0, wrapper.size());
    note(wrapper, tensors.size());
  }
  if (notes.empty()) return notes;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto [other, fresh] = before.try_emplace(tensors[i]->name, old_names[i]);
    if (fresh) continue;
    throw malformed(fmt::format("'{}' and '{}' become one name, '{}', without what wrappers added",
                                escape_name(other->second), escape_name(old_names[i]),
                                escape_name(tensors[i]->name)))
        .in_file(escape_name(weights.files[tensors[i]->source].name));
  }
  return notes;
}

}  // namespace mu
