// SPDX-License-Identifier: Apache-2.0
// A base model as those see it that apply adapters to it: its tensors under published names, what the model class
// calls each of them in memory, and which of them hold the matrices of experts. Made of config.json and headers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/input.h"
#include "model/tensor_names.h"

namespace mu {

// A parameter of the model class that holds one matrix for each expert.
struct ExpertStack {
  std::string memory;     // "model.layers.0.mlp.experts.gate_up_proj"
  std::string published;  // the module of the experts: "model.layers.0.block_sparse_moe.experts"
  // The modules of one expert, {"w1", "w3"}, whose rows lie one below the other in the stack. Where the files have the
  // stack too, they are those that servers know.
  std::vector<std::string> leaves;
  bool is_whole = false;     // published as one tensor
  bool is_divisible = true;  // each expert is its leaves, one below the other
  std::uint64_t experts = 0, out = 0, in = 0;

  [[nodiscard]] std::string container() const;  // in memory: "model.layers.0.mlp.experts"
  // Of one expert and leaf: "model.layers.0.block_sparse_moe.experts.3.w1".
  [[nodiscard]] std::string module(std::uint64_t expert, std::size_t leaf) const;
};

// A tensor of the base, or one expert's part of a stack.
struct ServedTensor {
  std::string published,
      memory;  // "model.layers.0.self_attn.q_proj.weight"; of a part, `memory` is the stack's
  std::vector<std::uint64_t> shape;
  bool is_made = false;  // the class makes of it, or of several, what it has in memory
  bool is_part = false;
  std::uint64_t expert = 0;  // of a part
  std::size_t leaf = 0;
};

class ServedBase {
 public:
  // Takes names, shapes and config of an opened model, under whichever names it has its tensors.
  explicit ServedBase(const Input& base);

  [[nodiscard]] const std::string& architecture() const { return architecture_; }
  [[nodiscard]] const std::string& model_type() const { return model_type_; }
  [[nodiscard]] const TensorNames* names() const { return names_.get(); }  // null: nothing is renamed
  [[nodiscard]] const std::vector<ServedTensor>& tensors() const { return tensors_; }

  // By the name that the base itself has, or the published one; null if there is none.
  [[nodiscard]] const ServedTensor* tensor(const std::string& name) const;
  // What a tensor would be that the base lacks under this name: it can be tied to another.
  [[nodiscard]] ServedTensor absent(const std::string& name) const;
  // By its name in memory, or that of a tensor of it in the base; null if it is none.
  [[nodiscard]] const ExpertStack* stack(const std::string& name) const;
  // The stack that a module of a single expert is a part of ("A.experts.3.up_proj"), which the base has whole.
  struct Part {
    const ExpertStack* stack = nullptr;
    std::uint64_t expert = 0;
    std::size_t leaf = 0;
  };
  [[nodiscard]] Part part(const std::string& module) const;
  // The stacks of a container in memory, in the order in which the class registers them.
  [[nodiscard]] std::vector<const ExpertStack*> stacks_in(const std::string& container) const;
  // Whether a tensor is of the language model; all are, where there is nothing else.
  [[nodiscard]] bool is_of_language_model(const std::string& memory_name) const;

 private:
  void add(const Tensor& tensor);
  void add_part(ServedTensor& one, const RenamedTensor& renamed);
  void find_whole_stacks();

  std::string architecture_, model_type_;
  bool is_memory_ = false;                    // the base has the names of memory
  bool has_towers_ = false;                   // images or sound go through other models
  std::shared_ptr<const TensorNames> names_;  // null: nothing is renamed
  std::vector<ServedTensor> tensors_;
  std::unordered_map<std::string, std::size_t> place_;  // by the names of the base, and the published ones
  std::map<std::string, ExpertStack> stacks_;           // by name in memory
};

}  // namespace mu
