// SPDX-License-Identifier: Apache-2.0
// Changes a repository in a cache of the Hugging Face libraries, and decides nothing: what to write is
// planned by cache_push.cc. Blobs come first, then the snapshot, the ref last, each renamed into place:
// nothing is seen before it is whole.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hub/files.h"
#include "hub/listener.h"
#include "model/hf_cache.h"
#include "os/lock.h"

namespace mu {

struct NewSnapshot {
  std::vector<CachedFile> files;             // by name, all with hashes
  std::map<std::string, LocalFile> blobs;    // to be written, by hash; others are there
  std::map<std::string, std::string> texts;  // blobs of our own making, by hash
  std::uint64_t bytes = 0;                   // of `blobs`
};

class CacheWriter {
 public:
  // Makes the cache's folder where it is missing, and keeps other pushes to the repository out as long as it
  // lives. Throws kTemporary while one is at work. `repo` and `listener` must outlive the writer.
  CacheWriter(const CachedRepo& repo, const PushListener& listener);

  // Writes blobs and snapshot; returns the snapshot's name. With `link` files become hard links where that is
  // possible. Throws kTemporary for a file that changed meanwhile.
  std::string write(const NewSnapshot& snapshot, bool link, unsigned jobs) const;
  void write_ref(const std::string& revision, const std::string& commit) const;
  // Removes snapshots that neither a ref names nor `head` is, what is known about files they lack, and blobs
  // that no snapshot has.
  void prune(const std::string& head) const;

 private:
  void write_blobs(const NewSnapshot& snapshot, bool link, unsigned jobs) const;
  void write_blob(const std::string& path, const std::string& hash, const LocalFile& file, bool link,
                  const std::function<void(std::uint64_t)>& on_bytes) const;

  const CachedRepo& repo_;
  const PushListener& listener_;
  FileLock lock_;
};

}  // namespace mu
