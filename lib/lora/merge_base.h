// SPDX-License-Identifier: Apache-2.0
// The base model while adapters are merged into it: its tensors by name, which of them are tied, and what has
// to be said. Adding and removing tensors changes the input's own list.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/lora_adapter.h"
#include "model/tied.h"
#include "weights/computed.h"

namespace mu {

// What merging did.
struct MergeResult {
  std::uint64_t merged = 0;        // tensors that get a delta
  std::uint64_t replaced = 0;      // tensors and embeddings that are replaced, whole or by rows
  std::vector<TiedName> tied;      // of the pairs that were tied, those that still hold the same bytes
  bool unties = false;             // tied embeddings now differ; the config must say so
  std::vector<ConfigEdit> config;  // other values that the config gets
  std::vector<std::string> notes;
};

// A parameter of the model class that the files keep in parts, one after the other: matrices of single experts.
struct StackedParts {
  std::vector<std::uint64_t> shape;  // of the stack, [experts, out, in]
  std::vector<std::string> names;
};

class MergeBase {
 public:
  MergeBase(Input& input, const std::vector<TiedName>& tied);

  [[nodiscard]] Input& input() { return input_; }
  [[nodiscard]] const Weights& weights() const { return input_.weights; }
  [[nodiscard]] std::string model_type() const { return input_.config ? input_.config->model_type : ""; }
  [[nodiscard]] bool contains(const std::string& name) const { return place_.contains(name); }
  // Valid until a tensor is added or removed; null if there is none of that name.
  [[nodiscard]] Tensor* find(const std::string& name);
  // The tensor of that name, or the one it is tied to, which a note then says; null if there is none.
  const Tensor* find_or_tied(const std::string& name);

  // Of a parameter by its name in the model class; null if the files keep it whole, or lack it.
  const StackedParts* parts_of(const std::string& parameter);

  void add(Tensor tensor);
  void remove(const std::set<std::string>& names);

  // The stored tensor that the config ties `name` to; empty if there is none.
  [[nodiscard]] std::string source_of(const std::string& name) const;
  // The names, stored or not, that the config ties to a stored tensor.
  [[nodiscard]] std::vector<std::string> tied_to(const std::string& source) const;
  // Gives names that are tied to `source` and not stored a copy of it. If the config can say that nothing is tied any
  // more, all tied names get a copy, and the result is true; otherwise loaders see that values differ. Untied names
  // still share their values, as PEFT has them in one parameter, until leave() takes them out.
  bool untie(const std::string& source);
  // From now on the tensor has values of its own.
  void leave(const std::string& name);
  // The untied names that share the values of `name`, itself included; without others, `name` alone.
  [[nodiscard]] std::vector<std::string> same_as(const std::string& name) const;

  void note(std::string text);
  MergeResult result;

 private:
  void index();
  // Whether a name that a rule ties is not stored, or holds the bytes of its source.
  [[nodiscard]] bool is_tied(const std::string& name) const;

  Input& input_;
  std::unordered_map<std::string, std::size_t> place_;
  std::vector<std::vector<std::string>> same_;  // names that share values; changes go to the first of a list
  std::optional<std::unordered_map<std::string, StackedParts>> stacks_;  // once one was asked for
  Ties ties_;
};

// Lets the values of a tensor be computed when they are read, from tensors that live as long as it does.
void compute_tensor(Tensor& tensor, std::vector<std::pair<const Weights*, Tensor>> from, Compute compute);

}  // namespace mu
