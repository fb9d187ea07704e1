// SPDX-License-Identifier: Apache-2.0
// The programs' way to models that lie elsewhere.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <utility>

#include "hub/remote.h"
#include "weights/weights.h"

namespace mu {

// Makes an hf:// name or URL readable like a path here; any other operand is left alone. With HF_HUB_OFFLINE
// the libraries' cache is read instead. Throws as hang_in_remote and hang_in_cached do.
void reach(const std::string& operand);

// Pairs of files, one of A and one of B, that are the same by SHA-256, where the hub that has one of them
// tells it: nothing needs to be read there. Files here are hashed when one of the same size lies on a hub.
std::set<std::pair<std::size_t, std::size_t>> same_files(const Weights& a, const Weights& b);

}  // namespace mu
