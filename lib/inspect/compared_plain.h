// SPDX-License-Identifier: Apache-2.0
// --diff of quantised models: which sides are compared by the values that they have when plain. Two that are stored the
// same way are compared as they are stored.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/input.h"

namespace mu {

struct PlainSides {
  std::optional<Dtype> a, b;       // the type in which it was made plain; nothing: it is compared as stored
  std::vector<std::string> notes;  // a sentence for each
  std::vector<std::string> warnings{};  // sides that can't be made plain, and why
};

// Makes the sides plain that have to be, in the type that the plain side's weights have, else in the one that their
// config names. Reads small tensors.
PlainSides make_sides_plain(Input& a, Input& b);

}  // namespace mu
