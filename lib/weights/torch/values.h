// SPDX-License-Identifier: Apache-2.0
// Plain values in the pickles of torch: attributes of objects, shapes, numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "weights/pickle/pickle.h"
#include "weights/torch/types.h"

namespace mu {

// An attribute in the state of an object: a dict, or a tuple (dict or None, dict) as objects with slots have it. kNoNode
// when there is none, or more than objects of torch have.
PickleId attribute_in(const Pickle& pickle, PickleId state, std::string_view name);

// The same of an object as pickle builds it, by NEWOBJ and BUILD.
PickleId pickle_attribute(const Pickle& pickle, PickleId object, std::string_view name);

// torch.Size((2, 3)), or a plain tuple or list of up to 64 non-negative numbers.
std::optional<std::vector<std::uint64_t>> pickle_shape(const Pickle& pickle, PickleId id);

// An integer that is not negative.
std::optional<std::uint64_t> pickle_number(const Pickle& pickle, PickleId id);

// A dtype of torch by its name, "torch.bfloat16".
std::optional<TorchType> pickle_dtype(const Pickle& pickle, PickleId id);

// True when the node is the class `name` of a module of torch.distributed, or an object that it makes. Modules
// have moved and classes have not.
bool is_distributed_class(const Pickle& pickle, PickleId id, std::string_view name);

}  // namespace mu
