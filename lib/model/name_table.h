// SPDX-License-Identifier: Apache-2.0
// The table of names: for each model class of transformers, the rules by which it renames tensors when it loads
// and saves files, as data. tests/interop/names_table.py makes data/tensor_names.txt from the library itself.
// Nothing is read before a class is asked for. model/tensor_names.h carries the rules out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mu {

// What a conversion does to the values ("Chunk", dim=1); section "save" of core_model_loading.py has them all.
struct NameOperation {
  std::string name;
  std::vector<std::pair<std::string, std::string>> values;
};

struct NameRule {
  enum class Kind : unsigned char {
    kRename,   // the first match becomes `to[0]`
    kConvert,  // the same, and `operations` split or join the values
    kGroup,    // match i becomes to[i]; those after the first act only once the first was seen
    kOffset,   // as kRename, with `offset` added to the number in the group
  } kind = Kind::kRename;
  std::vector<std::string> match;  // Python's regular expressions, searched
  std::vector<std::string> to;
  // Only names that begin with "base.scope." or "scope."; the beginning takes no part in the match.
  bool is_scoped = false;
  std::string base, scope;
  int offset = 0;
  std::vector<NameOperation> operations;
};

struct NameClass {
  std::string name, model_type;  // "MixtralForCausalLM", "mixtral"
  bool is_automatic = true;      // false: nobody can tell which kind its names are
  std::vector<NameRule> save, load;
  // The prefixes, of whole components, that names have in memory alone and in files alone ("*" is any number).
  // Both empty: names are the same there and here.
  std::vector<std::string> memory, published;
};

// The class, if it renames tensors.
std::optional<NameClass> find_name_class(std::string_view architecture);

// A class that stands for the model type, if all its classes that rename tensors do so alike.
std::optional<NameClass> find_name_class_of_type(std::string_view model_type);

// True for a class, and for a model type all of whose classes are such, whose tensors have the same names in files as
// in memory: transformers has it and converts nothing.
bool is_plain_class(std::string_view architecture);
bool is_plain_type(std::string_view model_type);

// True for the last components of the names of embeddings ("embed_tokens", "wte", "relative_attention_bias"), which
// no linear layer has.
bool is_embedding_layer(std::string_view leaf);

// True if PEFT (0.21) takes a linear layer with that last component for a parameter of the experts, in models of
// that type; only target_parameters then names the layer itself.
bool becomes_expert_parameter(std::string_view model_type, std::string_view leaf);

}  // namespace mu
