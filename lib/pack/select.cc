// SPDX-License-Identifier: Apache-2.0
#include "pack/select.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/text.h"
#include "os/interrupt.h"
#include "tensor/cast.h"

namespace mu {
namespace {

// The floating types that --dtype changes. A scale exponent or a packed type is not a number to round.
bool is_castable(Dtype dtype) {
  return is_floating(dtype) && dtype != Dtype::kF8E8M0 && can_cast(dtype, Dtype::kF32);
}

Dtype output_dtype(const Tensor& tensor, const Selection& selection) {
  if (!is_castable(tensor.dtype)) return tensor.dtype;
  for (auto rule = selection.dtype_of.rbegin(); rule != selection.dtype_of.rend(); ++rule) {
    if (rule->first.matches(tensor.name)) return rule->second;
  }
  return selection.dtype.value_or(tensor.dtype);
}

void check_names_exist(const std::vector<Tensor>& tensors, const std::set<std::string>& names) {
  std::unordered_set<std::string_view> known;
  for (const Tensor& tensor : tensors) known.insert(tensor.name);
  std::vector<std::string> unknown;
  for (const std::string& name : names) {
    if (!known.contains(name)) unknown.push_back("'" + escape_name(name) + "'");
  }
  if (unknown.empty()) return;
  const std::size_t count = unknown.size();
  unknown.resize(std::min<std::size_t>(count, 3));
  throw malformed(fmt::format("{} to take {} not in the input: {}{}", plural(count, "name"),
                              count == 1 ? "is" : "are", join(unknown, ", "), count > 3 ? ", …" : ""));
}

void check_collisions(const std::vector<PackedTensor>& packed) {
  std::unordered_map<std::string_view, const Tensor*> taken;
  for (const PackedTensor& tensor : packed) {
    if (tensor.output.name.empty()) {
      throw refused(fmt::format("--rename leaves '{}' without a name", escape_name(tensor.input->name)));
    }
    if (tensor.output.name == "__metadata__") throw refused("a tensor can't be called '__metadata__'");
    const auto [other, fresh] = taken.try_emplace(tensor.output.name, tensor.input);
    if (fresh) continue;
    throw refused(fmt::format("two tensors would be called '{}': '{}' and '{}'",
                              escape_name(tensor.output.name), escape_name(other->second->name),
                              escape_name(tensor.input->name)));
  }
}

}  // namespace

bool is_selected(const Selection& selection, const std::string& name) {
  if (selection.names && !selection.names->contains(name)) return false;
  return (selection.select.empty() || matches_any(selection.select, name)) &&
         !matches_any(selection.exclude, name);
}

std::vector<PackedTensor> select_tensors(const std::vector<Tensor>& tensors, const Selection& selection,
                                         const std::vector<std::string>& dropped) {
  if (selection.names) check_names_exist(tensors, *selection.names);
  std::vector<PackedTensor> packed;
  for (const Tensor& tensor : tensors) {
    check_interrupt();
    if (!is_selected(selection, tensor.name)) continue;
    if (std::binary_search(dropped.begin(), dropped.end(), tensor.name)) continue;
    const Dtype dtype = output_dtype(tensor, selection);
    packed.push_back({&tensor,
                      {rename_all(selection.rename, tensor.name), dtype, tensor.shape,
                       dtype == tensor.dtype ? tensor.size : tensor.element_count() * (bits(dtype) / 8)}});
  }
  if (packed.empty() && !tensors.empty())
    throw refused("nothing is left to write; check --select, --exclude and --names-from");
  check_collisions(packed);
  return packed;
}

}  // namespace mu
