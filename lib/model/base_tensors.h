// SPDX-License-Identifier: Apache-2.0
// The tensors of a base model, looked up as what is done to them needs it: under a name that is tied to a stored one,
// in parts that make one stack of experts, or stored in few bits under other names. Reads no tensors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/input.h"
#include "model/names_in_base.h"
#include "model/tied.h"

namespace mu {

class BaseTensors {
 public:
  // Borrows the input, which must outlive this.
  explicit BaseTensors(const Input& base);

  struct Found {
    std::string name;                    // in the base
    std::vector<const Tensor*> tensors;  // none: the base lacks it
    std::vector<std::uint64_t> shape;    // of the whole; empty if it can't be told from the tensors
  };
  // A parameter of an adapter's model ("M.weight", "….experts.gate_up_proj"). The module of one expert is found in a
  // stack; `shape` is then that of the expert.
  [[nodiscard]] Found find(const NamesInBase& names, const std::string& parameter) const;
  // The tensor of that name, the one it is tied to, or the few bits that stand for it; null if there is none.
  [[nodiscard]] const Tensor* find(const std::string& name) const;
  // Names, stored, that end in "." + `end`.
  [[nodiscard]] std::vector<std::string_view> names_that_end_in(std::string_view end) const;

  [[nodiscard]] const Input& input() const { return input_; }

 private:
  void find_parts(const NamesInBase& names, Found& found) const;
  [[nodiscard]] std::vector<std::uint64_t> shape_of(const Tensor& tensor) const;

  const Input& input_;
  TensorsByName tensors_;
  Ties ties_;
  std::unordered_map<std::string, const Tensor*> packed_;    // by the name of what few bits stand for
  std::unordered_map<const Tensor*, bool> has_plain_shape_;  // of the tensors stored in few bits
};

}  // namespace mu
