// SPDX-License-Identifier: Apache-2.0
// Names as they stand are tried first. Only if tensors are left over, the side of each input is asked for, and what has
// memory's names is renamed; the result is taken if it leaves fewer over. Older names are a matter of single tensors:
// one that the other side lacks is looked up under today's name.

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

// Names of one of the two that the other lacks.
std::size_t left_over(const ComparedSide& a, const ComparedSide& b) {
  const Names in_a = names_of(a), in_b = names_of(b);
  std::size_t both = 0;
  for (const std::string_view name : in_a) both += in_b.contains(name) ? 1 : 0;
  return in_a.size() + in_b.size() - 2 * both;
}

Renaming renamed_or_hint(const std::vector<Tensor>& tensors, const TensorNames& names,
                         const ModelConfig& config) {
  try {
    return to_published(tensors, names, config);
  } catch (Error& error) {
    throw error.hint("--names as-is compares names as they stand");
  }
}

// The side as files have it, if its names are memory's.
std::optional<ComparedSide> published(const ComparedSide& side, const Input& input, const Input& other) {
  const std::optional<ModelConfig>& config = input.config ? input.config : other.config;
  if (!config || input.quantization || input.is_adapter()) return std::nullopt;
  const std::shared_ptr<const TensorNames> names = TensorNames::of(*config);
  if (names == nullptr) return std::nullopt;
  std::vector<Tensor> tensors;
  for (const ComparedTensor& one : side.tensors) tensors.push_back(one);
  if (!names->side_of(tensors).is_memory()) return std::nullopt;
  Renaming renaming = renamed_or_hint(tensors, *names, *config);
  ComparedSide result;
  result.renamed = renaming.changed;
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
  const std::size_t over = left_over(names.a, names.b);
  if (as_is || over == 0) return names;
  std::optional<ComparedSide> new_a = published(names.a, a, b), new_b = published(names.b, b, a);
  if ((new_a || new_b) && left_over(new_a ? *new_a : names.a, new_b ? *new_b : names.b) < over) {
    if (new_a) names.a = std::move(*new_a);
    if (new_b) names.b = std::move(*new_b);
  }
  see_older_names(names.a, names.b);
  see_older_names(names.b, names.a);
  return names;
}

std::string seen_through_text(const ComparedNames& names) {
  if (!names.is_seen_through()) return "";
  std::vector<std::string> texts;
  for (const auto& [name, side] : {std::pair("A", &names.a), std::pair("B", &names.b)}) {
    add_text(texts, side->renamed, name, "memory's names");
    add_text(texts, side->older, name, "older names");
  }
  return join(texts, ", ") + ": compared under published names (--names as-is: as they stand)";
}

}  // namespace mu
