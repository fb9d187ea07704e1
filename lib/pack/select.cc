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

// The name that a file has for a tensor; `name` itself if no wrapper was removed from it.
const std::string& listed_name(const std::string& name, const ListedNames& listed) {
  const auto found = listed.find(name);
  return found == listed.end() ? name : found->second;
}

// Whether a glob matches the name of a tensor or the one that its file has.
bool matches_either(const Glob& glob, const std::string& name, const std::string& listed) {
  return glob.matches(name) || (&listed != &name && glob.matches(listed));
}

bool matches_either(const std::vector<Glob>& globs, const std::string& name, const std::string& listed) {
  return std::any_of(globs.begin(), globs.end(),
                     [&](const Glob& glob) { return matches_either(glob, name, listed); });
}

// The dtype that the rules give to a tensor of the input.
Dtype dtype_by_rules(const Tensor& tensor, const Selection& selection, const ListedNames& listed) {
  if (!is_castable(tensor.dtype)) return tensor.dtype;
  const std::string& in_file = listed_name(tensor.name, listed);
  for (auto rule = selection.dtype_of.rbegin(); rule != selection.dtype_of.rend(); ++rule) {
    if (matches_either(rule->first, tensor.name, in_file)) return rule->second;
  }
  return selection.dtype.value_or(tensor.dtype);
}

Dtype output_dtype(const PackedTensor& tensor, const Selection& selection, const ListedNames& listed) {
  const std::span<const Tensor* const> sources = tensor.sources();
  const Dtype dtype = dtype_by_rules(*sources.front(), selection, listed);
  const auto other = std::find_if(sources.begin(), sources.end(), [&](const Tensor* source) {
    return dtype_by_rules(*source, selection, listed) != dtype;
  });
  if (other == sources.end()) return dtype;
  throw refused(fmt::format(
      "'{}' and '{}' become one tensor, '{}', but --dtype casts them to different types",
      escape_name(sources.front()->name), escape_name((*other)->name), escape_name(tensor.output.name)));
}

void check_names_exist(const std::vector<Tensor>& tensors, const std::set<std::string>& names,
                       const ListedNames& listed) {
  std::unordered_set<std::string_view> known;
  for (const Tensor& tensor : tensors) {
    known.insert(tensor.name);
    known.insert(listed_name(tensor.name, listed));
  }
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

}  // namespace

void require_own_names(const std::vector<PackedTensor>& packed) {
  std::unordered_map<std::string_view, const Tensor*> taken;
  for (const PackedTensor& tensor : packed) {
    if (tensor.output.name.empty()) {
      const std::string& input = tensor.sources().front()->name;
      if (input.empty())
        throw refused("a tensor of the input has an empty name").hint("st-pack(1) shows how to give it one");
      throw refused(fmt::format("--rename leaves '{}' without a name", escape_name(input)));
    }
    if (tensor.output.name == "__metadata__") throw refused("a tensor can't be called '__metadata__'");
    const Tensor* const input = tensor.sources().front();
    const auto [other, fresh] = taken.try_emplace(tensor.output.name, input);
    if (fresh) continue;
    throw refused(fmt::format("two tensors would be called '{}': '{}' and '{}'",
                              escape_name(tensor.output.name), escape_name(other->second->name),
                              escape_name(input->name)));
  }
}

bool is_selected(const Selection& selection, const std::string& name, const ListedNames& listed) {
  const std::string& in_file = listed_name(name, listed);
  if (selection.names && !selection.names->contains(name) && !selection.names->contains(in_file))
    return false;
  return (selection.select.empty() || matches_either(selection.select, name, in_file)) &&
         !matches_either(selection.exclude, name, in_file);
}

std::vector<PackedTensor> choose_tensors(const std::vector<Tensor>& tensors, const Selection& selection,
                                         const std::vector<std::string>& dropped, const ListedNames& listed) {
  if (selection.names) check_names_exist(tensors, *selection.names, listed);
  std::vector<PackedTensor> chosen;
  for (const Tensor& tensor : tensors) {
    check_interrupt();
    if (!is_selected(selection, tensor.name, listed)) continue;
    if (std::binary_search(dropped.begin(), dropped.end(), tensor.name)) continue;
    chosen.push_back({&tensor, {tensor.name, tensor.dtype, tensor.shape, tensor.size}});
  }
  if (chosen.empty() && !tensors.empty())
    throw refused("nothing is left to write; check --select, --exclude and --names-from");
  return chosen;
}

void cast_tensors(std::vector<PackedTensor>& tensors, const Selection& selection, const ListedNames& listed) {
  for (PackedTensor& tensor : tensors) {
    check_interrupt();
    const Dtype dtype = output_dtype(tensor, selection, listed);
    if (dtype == tensor.output.dtype) continue;
    tensor.output.dtype = dtype;
    tensor.output.size = tensor.input->element_count() * (bits(dtype) / 8);
  }
}

void rename_tensors(std::vector<PackedTensor>& tensors, const std::vector<Rename>& rules) {
  for (PackedTensor& tensor : tensors) tensor.output.name = rename_all(rules, tensor.output.name);
  require_own_names(tensors);
}

std::vector<std::string> unmatched_globs(const std::vector<std::string>& names, const Selection& selection,
                                         const ListedNames& listed) {
  std::vector<std::string> unmatched;
  const auto check = [&](std::string_view option, const Glob& glob, const std::string& suffix = "") {
    if (std::none_of(names.begin(), names.end(), [&](const std::string& name) {
          return matches_either(glob, name, listed_name(name, listed));
        }))
      unmatched.push_back(
          fmt::format("{} '{}' matches no tensor", option, escape_name(glob.pattern() + suffix)));
  };
  for (const Glob& glob : selection.select) check("--select", glob);
  for (const Glob& glob : selection.exclude) check("--exclude", glob);
  for (const auto& [glob, dtype] : selection.dtype_of)
    check("--dtype", glob, "=" + std::string(short_name(dtype)));
  return unmatched;
}

std::vector<std::string> unmatched_renames(std::vector<std::string> names, const std::vector<Rename>& rules) {
  std::vector<std::string> unmatched;
  for (const Rename& rule : rules) {
    if (std::none_of(names.begin(), names.end(), [&](const std::string& name) { return rule.matches(name); }))
      unmatched.push_back(fmt::format("--rename '{}' matches no tensor", escape_name(rule.expression())));
    for (std::string& name : names) name = rule.apply(name);
  }
  return unmatched;
}

}  // namespace mu
