// SPDX-License-Identifier: Apache-2.0
// A push into a local cache of the Hugging Face libraries, so that they load the model by name without a
// network. The same plan as a push to a hub; a snapshot stands for the commit. Files are kept as the Hub
// would keep them (regular or LFS, by .gitattributes, size and content), so that blobs are shared with what
// was downloaded.
#pragma once

#include <string>

#include "hub/push.h"

namespace mu {

struct CacheTarget {
  std::string folder;  // of the cache
  bool link = false;   // hard links, not copies
  bool prune = false;  // remove snapshots that no ref names, and blobs of no snapshot
};

// Pushes `choice` on top of the snapshot that the revision leads to now (a new revision: main's). Throws
// kRefused for what the guard stops, kUsage for options that only a hub has, kTemporary while another push
// into the same repository is at work, kRemote where options forbid what would have to be made.
PushResult push_to_cache(const CacheTarget& target, const FileChoice& choice, HashCache& cache,
                         const PushOptions& options, const PushListener& listener);

}  // namespace mu
