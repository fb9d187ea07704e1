// SPDX-License-Identifier: Apache-2.0
// The conversions of the table of names (name_table.h), carried out on tensors: what transformers (5.23,
// core_model_loading.py) does to values when it saves or loads, as far as it is a matter of order. Nothing is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/name_table.h"
#include "tensor/tensor.h"

namespace mu {

// Tensors under one pattern of a conversion, in their order; each with the numbers of those that it is made of.
struct Patterned {
  std::string pattern;
  std::vector<Tensor> tensors;
  std::vector<std::vector<std::size_t>> from;
};

// What a conversion makes of tensors, each under one of its targets with numbers filled in for "*"; nothing if it
// depends on more than tensors and config. `name` is that of the whole, for messages. Throws kMalformed, naming
// tensors, for what does not fit: shapes, types, sizes that don't divide, numbers of experts.
std::optional<std::vector<Patterned>> convert(const NameRule& rule, std::vector<Patterned> sources,
                                              const ModelConfig& config, std::string_view name);

// What transformers makes by `rule` of one tensor are views of that tensor, or of copies of its chunks, where these are
// not one run of rows. Into how many such copies `made` of them fall, one after the other; 1: all are views.
std::size_t copies_of(const NameRule& rule, const Tensor& tensor, std::size_t made);

// True if the conversion stacks the experts of a layer.
bool stacks_experts(const NameRule& rule);

// True if it makes one stack of them and changes no values: the experts in order, of each the matrices that match, one
// below the other.
bool makes_one_stack(const NameRule& rule);

// How many experts the conversion stacks of these tensors, or splits from them; nothing if it does neither.
std::optional<std::uint64_t> experts_of(const NameRule& rule, const std::vector<Patterned>& sources);

// The last component that is a number: of a published name of an expert ("layers.0.mlp.experts.3.w1.weight") that of
// the expert, of the name of a stack that of the layer. Nothing if there is none.
std::optional<std::uint64_t> last_number_in(std::string_view name);

}  // namespace mu
