// SPDX-License-Identifier: Apache-2.0
// A repository that the cache of the Hugging Face libraries holds already, at the very commit that is to be read. It
// is used as a whole or not at all: what is read must be there, in the size that the hub says.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "hub/remote.h"

namespace mu {

struct Snapshot {
  std::string folder;  // CACHE/models--OWNER--NAME/snapshots/COMMIT
  std::map<std::string, std::string>
      files;  // path in the repository, and where it lies; those of the right size
};

// Nothing if the cache has no snapshot of this commit, or one that the libraries would not have made.
std::optional<Snapshot> find_snapshot(const std::string& cache_folder, const PinnedRepo& repo);

// Thrown when a file is opened that a mounted snapshot lacks. Not an Error: the work is to begin again, without the
// snapshot.
struct SnapshotLacks {
  std::string name;  // "hf://owner/name/config.json"
};

// Mounts the repository as the hub lists it, with these files. Opening any other one throws SnapshotLacks.
void mount_snapshot(const PinnedRepo& repo, const Snapshot& snapshot);

}  // namespace mu
