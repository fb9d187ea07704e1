// SPDX-License-Identifier: Apache-2.0
// Each tensor is renamed on its own; the conversion that the class has for it, if any, says what its values become.
// Tensors that become one parameter are gathered until all are known. Four conversions are matters of order alone
// and cover the experts of all families and most joined projections; the others leave a parameter opaque.

#include "lora/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "model/tensor_names.h"

namespace mu {
namespace {

std::uint64_t elements(const std::vector<std::uint64_t>& shape) {
  std::uint64_t count = 1;
  for (const std::uint64_t size : shape) count *= size;
  return count;
}

Parameter plain(const Tensor& tensor, std::string name) {
  return {.name = std::move(name),
          .file_name = tensor.name,
          .shape = tensor.shape,
          .pieces = {{&tensor, 0, tensor.element_count()}}};
}

// What conversions come down to, when they do.
enum class Made : unsigned char {
  kOpaque,
  kStacked,  // one tensor for each expert, or several that lie one below the other
  kJoined,   // tensors one below the other
  kCut,      // a tensor, cut across its rows
};

Made made_by(const NameRule& rule) {
  const std::vector<NameOperation>& operations = rule.operations;
  const auto is = [&](std::size_t at, std::string_view name, std::string_view dim) {
    const NameOperation& one = operations[at];
    return one.name == name && one.values.size() == 1 && one.values[0].first == "dim" &&
           one.values[0].second == dim;
  };
  const bool one = operations.size() == 1, two = operations.size() == 2;
  if (rule.to.size() == 1 && ((one && rule.match.size() == 1 && is(0, "MergeModulelist", "0")) ||
                              (two && is(0, "MergeModulelist", "0") && is(1, "Concatenate", "1"))))
    return Made::kStacked;
  if (rule.to.size() == 1 && one && is(0, "Concatenate", "0")) return Made::kJoined;
  if (rule.match.size() == 1 && one && is(0, "Chunk", "0")) return Made::kCut;
  return Made::kOpaque;
}

// Names are ordered as transformers does: components that are numbers as numbers, and before others.
bool comes_before(const std::string& a, const std::string& b) {
  const std::vector<std::string_view> left = split(a, '.'), right = split(b, '.');
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    if (left[i] == right[i]) continue;
    const bool left_number = is_digits(left[i]), right_number = is_digits(right[i]);
    if (left_number != right_number) return left_number;
    if (!left_number || left[i].size() == right[i].size()) return left[i] < right[i];
    return left[i].size() < right[i].size();
  }
  return left.size() < right.size();
}

// Tensors that become one parameter, by the pattern of the rule that each matched.
struct Gathered {
  const NameRule* rule = nullptr;
  std::vector<std::vector<const Tensor*>> tensors;
};

class Reader {
 public:
  Reader(const Input& input, const TensorNames* names) : input_(input), names_(names) {}

  std::vector<Parameter> run() {
    for (const Tensor& tensor : input_.weights.tensors) {
      if (names_ == nullptr)
        list_.push_back(plain(tensor, tensor.name));
      else
        add(tensor);
    }
    for (auto& [name, place] : places_) finish(list_[place.at], place.gathered);
    return std::move(list_);
  }

 private:
  struct Place {
    std::size_t at;
    Gathered gathered;
  };

  void add(const Tensor& tensor) {
    RenamedTensor renamed = names_->load(tensor.name);
    // A class may convert values under one name (qwen3_vl_moe turns experts that an old file has turned): what
    // lies in the file is what the adapter is for.
    if (renamed.conversion == nullptr || renamed.name == tensor.name) {
      list_.push_back(plain(tensor, std::move(renamed.name)));
      return;
    }
    const NameRule& rule = *renamed.conversion;
    switch (made_by(rule)) {
      case Made::kCut:
        return cut(tensor, renamed);
      case Made::kStacked:
      case Made::kJoined:
        break;
      case Made::kOpaque:
        list_.push_back(plain(tensor, tensor.name));
        list_.back().is_opaque = true;
        return;
    }
    const auto [at, fresh] = places_.try_emplace(renamed.name, Place{list_.size(), {}});
    if (fresh) list_.push_back({.name = renamed.name, .file_name = renamed.name, .shape = {}, .pieces = {}});
    Gathered& gathered = at->second.gathered;
    gathered.rule = &rule;
    gathered.tensors.resize(rule.match.size());
    gathered.tensors[renamed.pattern].push_back(&tensor);
  }

  void cut(const Tensor& tensor, const RenamedTensor& renamed) {
    const std::vector<std::string>& to = renamed.conversion->to;
    const std::size_t at = renamed.name.find(to.front());
    if (at == std::string::npos || tensor.shape.empty() || tensor.shape[0] % to.size() != 0) {
      list_.push_back(plain(tensor, tensor.name));
      list_.back().is_opaque = true;
      return;
    }
    const std::uint64_t count = tensor.element_count() / to.size();
    for (std::size_t i = 0; i < to.size(); ++i) {
      Parameter one = plain(tensor, renamed.name);
      one.name.replace(at, to.front().size(), to[i]);
      one.file_name = one.name;
      one.shape[0] /= to.size();
      one.pieces = {{&tensor, i * count, count}};
      list_.push_back(std::move(one));
    }
  }

  [[noreturn]] void fail(const Parameter& parameter, const std::string& why) const {
    throw malformed(fmt::format("'{}': {}", escape_name(parameter.name), why))
        .in_file(escape_name(input_.name));
  }

  void finish(Parameter& parameter, Gathered& gathered) const {
    const bool stacked = made_by(*gathered.rule) == Made::kStacked;
    std::size_t experts = 0;
    for (std::vector<const Tensor*>& tensors : gathered.tensors) {
      std::sort(tensors.begin(), tensors.end(),
                [](const Tensor* a, const Tensor* b) { return comes_before(a->name, b->name); });
      experts = std::max(experts, tensors.size());
    }
    const Tensor* first = nullptr;
    for (std::size_t expert = 0; expert < experts; ++expert) {
      for (std::size_t i = 0; i < gathered.tensors.size(); ++i) {
        const std::vector<const Tensor*>& tensors = gathered.tensors[i];
        if (expert >= tensors.size() && !stacked) continue;  // of tensors to join, some may be absent
        if (expert >= tensors.size())
          fail(parameter, fmt::format("{} of its parts are there, but only {} match '{}'", experts,
                                      tensors.size(), gathered.rule->match[i]));
        const Tensor& tensor = *tensors[expert];
        if (first == nullptr) {
          first = &tensor;
          parameter.shape = tensor.shape;
          if (parameter.shape.empty()) fail(parameter, "its parts are single numbers");
          parameter.shape[0] = 0;
        }
        const bool fits = tensor.dtype == first->dtype && tensor.shape.size() == first->shape.size() &&
                          std::equal(tensor.shape.begin() + 1, tensor.shape.end(), first->shape.begin() + 1);
        if (!fits)
          fail(parameter, fmt::format("its parts '{}' and '{}' don't fit each other",
                                      escape_name(first->name), escape_name(tensor.name)));
        if (expert == 0) parameter.shape[0] += tensor.shape[0];
        parameter.pieces.push_back({&tensor, 0, tensor.element_count()});
      }
    }
    if (!stacked) return;
    const std::uint64_t each = elements(parameter.shape);
    parameter.shape.insert(parameter.shape.begin(), experts);
    std::uint64_t all = 0;
    for (const TensorPiece& piece : parameter.pieces) all += piece.count;
    if (all != each * experts) fail(parameter, "its experts differ in size");
  }

  const Input& input_;
  const TensorNames* names_;
  std::vector<Parameter> list_;
  std::map<std::string, Place> places_;
};

// The names of one side: whether they are told apart, and the rules if they are those of files.
struct Side {
  std::shared_ptr<const TensorNames> names;  // null: nothing is renamed
  bool is_known = false, is_memory = false;
};

Side side_of(const Input& input, const Input& other) {
  const std::optional<ModelConfig>& config = input.config ? input.config : other.config;
  if (!config) return {};
  std::shared_ptr<const TensorNames> names = TensorNames::of(*config);
  if (names == nullptr) return {};
  const TensorNames::Counts counts = names->side_of(input.weights.tensors);
  const bool is_known = names->name_class().is_automatic && (counts.is_memory() || counts.is_published());
  return is_known ? Side{names, true, counts.is_memory()} : Side{};
}

}  // namespace

std::vector<TensorPiece> slice(const std::vector<TensorPiece>& pieces, std::uint64_t first,
                               std::uint64_t count) {
  std::vector<TensorPiece> list;
  for (const TensorPiece& piece : pieces) {
    if (count == 0) break;
    if (first >= piece.count) {
      first -= piece.count;
      continue;
    }
    const std::uint64_t taken = std::min(count, piece.count - first);
    list.push_back({piece.tensor, piece.first + first, taken});
    first = 0;
    count -= taken;
  }
  return list;
}

ParametersOfPair parameters_of(const Input& base, const Input& tuned) {
  const Side old_side = side_of(base, tuned), new_side = side_of(tuned, base);
  const bool known = old_side.is_known && new_side.is_known;
  ParametersOfPair pair;
  pair.base = Reader(base, known && !old_side.is_memory ? old_side.names.get() : nullptr).run();
  pair.tuned = Reader(tuned, known && !new_side.is_memory ? new_side.names.get() : nullptr).run();
  if (known) pair.names = new_side.names;
  for (const Parameter& parameter : pair.tuned)
    pair.renamed += parameter.name == parameter.pieces.front().tensor->name ? 0 : 1;
  return pair;
}

}  // namespace mu
