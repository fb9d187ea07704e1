// SPDX-License-Identifier: Apache-2.0
// transformers 5 knows tensors by two names: those of files ("published", as on the Hub) and those of the model in
// memory, which state_dict() and PEFT have. Mixtral's "model.layers.0.block_sparse_moe.gate.weight" in files is
// "model.layers.0.mlp.gate.weight" in memory, and its experts are one tensor there. This is the arithmetic of
// names alone; values are not touched. Source: transformers 5.23, core_model_loading.py.
//
//   if (const std::shared_ptr<const TensorNames> names = TensorNames::of(*input.config)) {
//     names->published("model.layers.0.mlp.gate.weight");           // of memory's name
//     names->memory("model.layers.0.block_sparse_moe.gate.weight");  // of a published name
//     names->side_of(list_of_names);                                // which of the two a file has
//   }
//
// Neither function may be applied twice, so decide first whose names a file has. A tensor of a stack of experts
// has many published names; published() gives the first, with "*" for the number of the expert.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/name_table.h"
#include "weights/weights.h"

namespace mu {

enum class NameSide : unsigned char {
  kNeutral,    // the same on both sides, or foreign without a rule that would change it
  kMemory,     // a name of memory
  kPublished,  // a name of files
  kForeign,    // belongs to neither, but a rule would change it
};

// A name of memory's, and how its values come from the tensor that was renamed.
struct RenamedTensor {
  std::string name;
  const NameRule* conversion = nullptr;  // of the class; null: the values stay
  std::size_t pattern = 0;               // which of conversion->match the tensor is
};

class NameRules;  // of one direction, prepared for matching

class TensorNames {
 public:
  // Of the class that the config names; without a class, that of the model type, where all its classes have the
  // same rules. Null where the class is unknown, renames nothing, or comes with its own code.
  static std::shared_ptr<const TensorNames> of(const ModelConfig& config);
  explicit TensorNames(NameClass one);
  ~TensorNames();

  [[nodiscard]] const NameClass& name_class() const { return class_; }

  [[nodiscard]] std::string published(std::string_view memory_name) const;
  [[nodiscard]] std::string memory(std::string_view published_name) const;
  // As memory(), with the conversion. A name that several tensors get is that of the tensor made of them all.
  [[nodiscard]] RenamedTensor load(std::string_view published_name) const;
  [[nodiscard]] RenamedTensor save(std::string_view memory_name) const;  // as published()

  [[nodiscard]] NameSide side_of(std::string_view name) const;
  struct Counts {
    std::size_t neutral = 0, memory = 0, published = 0, foreign = 0;
    std::string a_memory{}, a_published{}, a_foreign{};  // the first name of each kind
    // Exactly one side, or nothing that a rule would change.
    [[nodiscard]] bool is_memory() const { return memory > 0 && published == 0 && foreign == 0; }
    [[nodiscard]] bool is_published() const { return memory == 0 && foreign == 0; }
  };
  // Of all names of a model, without those of wrappers. A class that is not automatic has no sides: all neutral.
  [[nodiscard]] Counts side_of(const std::vector<Tensor>& tensors) const;

  [[nodiscard]] const NameRules& rules(bool saves) const { return saves ? *save_ : *load_; }

 private:
  NameClass class_;
  std::unique_ptr<const NameRules> save_, load_;
};

// All names of one model, handed in their natural order (base/natural.h): some rules act only once another name was
// seen. model/renaming.h makes tensors of what it says.
class NamePass {
 public:
  NamePass(const TensorNames& names, bool saves);

  // To load, the name in memory. To save, the published one; or, if the values are converted, the name of the group.
  RenamedTensor next(std::string_view name);
  // To save, the published name of what a conversion made, once all names were seen.
  std::string finish(std::string_view name);

 private:
  const NameRules& rules_;
  bool saves_;
  std::vector<bool> seen_;
};

}  // namespace mu
