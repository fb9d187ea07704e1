// SPDX-License-Identifier: Apache-2.0
// A push into a local cache of the Hugging Face libraries, so that they load the model by name without a
// network. The same plan as a push to a hub; a snapshot stands for the commit. Files are kept as the Hub
// would keep them (regular or LFS, by .gitattributes, size and content), so that blobs are shared with what
// was downloaded. Blobs are written first, then the snapshot, the ref last: nothing is seen before it is
// whole.
#pragma once

#include <string>

#include "hub/push.h"

namespace mu {

// Pushes `choice` on top of the snapshot that the revision leads to now (a new revision: main's). Throws
// kRefused for what the guard stops, kUsage for options that only a hub knows, kTemporary while another push
// into the same repository is at work, kRemote where options forbid what would have to be made.
PushResult push_to_cache(const std::string& cache_folder, const FileChoice& choice, HashCache& cache,
                         const PushOptions& options, const PushListener& listener);

}  // namespace mu
