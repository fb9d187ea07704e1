// SPDX-License-Identifier: Apache-2.0
// The name of a snapshot that is made here and not by a hub.
#pragma once

#include <string>
#include <vector>

#include "model/hf_cache.h"

namespace mu {

// The id of the git tree that holds these files (regular files as blobs, those in LFS as their pointers), so
// that the same content always has the same name. `files` by name.
std::string snapshot_id(const std::vector<CachedFile>& files);

}  // namespace mu
