// SPDX-License-Identifier: Apache-2.0
// How deep a pickle nests, measured without recursion. Private to this folder.
#pragma once

#include <optional>

#include "weights/pickle/pickle.h"

namespace mu {

// A node at which a path from the root, cycles aside, is longer than Pickle::kMaxDepth. Code that walks the
// tree recurses and relies on this limit.
std::optional<PickleId> find_too_deep(const Pickle& pickle);

}  // namespace mu
