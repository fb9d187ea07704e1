// SPDX-License-Identifier: Apache-2.0
// Names as they stand are tried first. Only if tensors are left over, they are tried without what wrappers added, and
// published: the side of each input is asked for, and what has memory's names is renamed. Of these the names that leave
// fewest tensors over are taken. Older names are a matter of single tensors: one that the other side lacks is looked up
// under today's name.

#include "inspect/compared_names.h"

#include <fmt/format.h>

#include <optional>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/older_names.h"
#include "model/renaming.h"
#include "model/tensor_names.h"
#include "model/wrappers.h"
#include "os/interrupt.h"

namespace mu {
namespace {

using Names = std::unordered_set<std::string_view>;

Names names_of(const ComparedSide& side) {
  Names names;
  for (const ComparedTensor& one : side.tensors) names.insert(one.name);
  return names;
}

ComparedSide as_they_stand(const Input& input, const std::vector<Rename>& map) {
  ComparedSide side;
  for (const Tensor& tensor : input.weights.tensors) {
    check_interrupt();
    side.tensors.push_back({tensor, {tensor.name}});
    side.tensors.back().name = rename_all(map, tensor.name);
  }
  return side;
}

// Tensors of the files that have no counterpart on the other side. A stack of experts counts once, so that it does not
// matter in how many it is seen.
std::size_t left_over(const ComparedSide& side, const Names& there) {
  Names names;
  for (const ComparedTensor& one : side.tensors) {
    if (!there.contains(one.name)) names.insert(one.made_of.begin(), one.made_of.end());
  }
  return names.size();
}

std::size_t left_over(const ComparedNames& names) {
  return left_over(names.a, names_of(names.b)) + left_over(names.b, names_of(names.a));
}

std::vector<Tensor> tensors_of(const ComparedSide& side) {
  return {side.tensors.begin(), side.tensors.end()};
}

ComparedSide without_wrappers(ComparedSide side, const Input& input) {
  std::vector<std::string> names =
      plan_wrapper_removal(tensors_of(side), {.of_adapter = input.is_adapter()}).names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    side.wrapped += side.tensors[i].name == names[i] ? 0 : 1;
    side.tensors[i].name = std::move(names[i]);
  }
  return side;
}

Renaming renamed_or_hint(const std::vector<Tensor>& tensors, const TensorNames& names,
                         const ModelConfig& config) {
  try {
    return to_published(tensors, names, config);
  } catch (Error& error) {
    throw error.hint("--names as-is compares names as they stand");
  }
}

// The side as files have it: renamed, if its names are memory's.
ComparedSide published(const ComparedSide& side, const Input& input, const Input& other) {
  const std::optional<ModelConfig>& config = input.config ? input.config : other.config;
  if (!config || input.quantization || input.is_adapter()) return side;
  const std::shared_ptr<const TensorNames> names = TensorNames::of(*config);
  if (names == nullptr) return side;
  const std::vector<Tensor> tensors = tensors_of(side);
  if (!names->side_of(tensors).is_memory()) return side;
  Renaming renaming = renamed_or_hint(tensors, *names, *config);
  ComparedSide result;
  result.renamed = renaming.changed;
  result.wrapped = side.wrapped;
  for (Renaming::Item& item : renaming.items) {
    ComparedTensor one{std::move(item.tensor), {}};
    for (const std::size_t from : item.from) one.made_of.push_back(side.tensors[from].made_of.front());
    result.tensors.push_back(std::move(one));
  }
  return result;
}

void see_older_names(ComparedSide& side, const ComparedSide& other) {
  const Names there = names_of(other), here = names_of(side);
  std::vector<std::pair<ComparedTensor*, std::string>> today;
  for (ComparedTensor& one : side.tensors) {
    std::string name = without_older_name(one.name);
    if (!there.contains(one.name) && there.contains(name) && !here.contains(name))
      today.emplace_back(&one, std::move(name));
  }
  side.older = today.size();
  for (auto& [tensor, name] : today) tensor->name = std::move(name);
}

void add_text(std::vector<std::string>& texts, std::uint64_t count, std::string_view side,
              std::string_view names) {
  if (count > 0)
    texts.push_back(
        fmt::format("{} of {} {} {}", plural(count, "tensor"), side, count == 1 ? "has" : "have", names));
}

}  // namespace

ComparedNames compared_names(const Input& a, const Input& b, const std::vector<Rename>& map, bool as_is) {
  ComparedNames names{as_they_stand(a, map), as_they_stand(b, {})};
  std::size_t over = left_over(names);
  if (as_is || over == 0) return names;
  const auto consider = [&](ComparedNames others) {
    const std::size_t left = left_over(others);
    if (left >= over) return;
    over = left;
    names = std::move(others);
  };
  const ComparedNames plain{without_wrappers(names.a, a), without_wrappers(names.b, b)};
  consider(plain);
  consider({published(plain.a, a, b), published(plain.b, b, a)});
  see_older_names(names.a, names.b);
  see_older_names(names.b, names.a);
  return names;
}

std::string seen_through_text(const ComparedNames& names) {
  if (!names.is_seen_through()) return "";
  std::vector<std::string> texts;
  for (const auto& [name, side] : {std::pair("A", &names.a), std::pair("B", &names.b)}) {
    add_text(texts, side->wrapped, name, "names of wrappers");
    add_text(texts, side->renamed, name, "memory's names");
    add_text(texts, side->older, name, "older names");
  }
  return join(texts, ", ") + ": compared under published names (--names as-is: as they stand)";
}

}  // namespace mu
