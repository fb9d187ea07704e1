// SPDX-License-Identifier: Apache-2.0
// The two identities of a file on a hub, and a cache of them, so that pushing a terabyte again costs a walk
// through its folder.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hub/files.h"
#include "hub/listener.h"
#include "os/file.h"

namespace mu {

struct FileHashes {
  std::string sha256;  // 64 hex digits; of files in LFS
  std::string blob;    // git blob id, 40 hex digits; of regular files
  unsigned clean = 0;  // version of the search that found no secret in it (model/secrets.h); 0: not searched
};

// What is asked of hash_file.
struct WantedHashes {
  bool sha256 = false, blob = false;
};

// Reads the file once. `on_bytes` is called with the size of each piece. Throws kTemporary if the file does
// not have that stamp, before or after.
FileHashes hash_file(const std::string& path, const FileStamp& stamp, WantedHashes wanted,
                     const std::function<void(std::uint64_t)>& on_bytes);

// A table from stamps to hashes, and to the verdict on secrets, in one file. A file that changed less than
// two seconds before it was hashed is not remembered: it might change again within the same tick of the
// clock. Thread safe.
class HashCache {
 public:
  // Reads the table; a missing or broken one is empty. Without a path nothing outlives the run.
  explicit HashCache(std::string path);

  [[nodiscard]] std::optional<FileHashes> find(const FileStamp& stamp) const;
  void add(const FileStamp& stamp, const FileHashes& hashes);
  // Takes over what another table knows about files with these stamps, whatever their device: each machine
  // numbers the devices of network file systems in its own way.
  void adopt(const std::string& path, const std::vector<FileStamp>& stamps);
  // From now on save() writes to `path`, and only what is known about files with these stamps.
  void divert(std::string path, const std::vector<FileStamp>& stamps);
  // Writes the table if something was added. Throws kIo.
  void save() const;

 private:
  using Table = std::map<FileStamp, FileHashes>;
  static Table read(const std::string& path);

  std::string path_;
  mutable std::mutex mutex_;
  Table table_;
  std::optional<std::set<FileStamp>> saved_;  // only these are saved; nothing: all
  bool changed_ = false;
};

// The hashes of the chosen files, from the cache or read, several files at once; in the order of
// choice.files. Saves the cache. Throws as hash_file does.
std::vector<FileHashes> hash_files(const FileChoice& choice, const std::vector<WantedHashes>& wanted,
                                   HashCache& cache, const PushListener& listener);

}  // namespace mu
