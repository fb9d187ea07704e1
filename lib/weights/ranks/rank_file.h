// SPDX-License-Identifier: Apache-2.0
// What the readers of checkpoints that ranks wrote have in common.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "weights/pickle/pickle.h"
#include "weights/weights.h"

namespace mu {

// kMalformed with the rule after the message: "… [ZR-COUNT]".
Error rule_error(std::string_view rule, std::string message);

// Throws kMalformed when the pickle names something dangerous to load.
void require_harmless(const Pickle& pickle);

// An attribute of a dataclass as pickle builds it, NEWOBJ and BUILD with a dict; kNoNode when there is none.
PickleId pickle_attribute(const Pickle& pickle, PickleId object, std::string_view name);

// torch.Size((2, 3)), or a plain tuple or list of up to 64 non-negative numbers.
std::optional<std::vector<std::uint64_t>> pickle_shape(const Pickle& pickle, PickleId id);

// Adds a file without tensors to the set. Beyond some dozens, files give their descriptors back.
void add_rank_file(Weights& weights, InputFile file);

}  // namespace mu
