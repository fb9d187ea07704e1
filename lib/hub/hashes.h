// SPDX-License-Identifier: Apache-2.0
// The two identities of a file on a hub, and a memory of those of files that were hashed before, so that
// pushing a terabyte again costs a walk through its folder.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

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

// Reads the file once. `on_bytes` is told what was read. Throws kTemporary when it is not, or no longer, the
// file of that stamp.
FileHashes hash_file(const std::string& path, const FileStamp& stamp, WantedHashes wanted,
                     const std::function<void(std::uint64_t)>& on_bytes);

// A table from stamps to hashes, and to the verdict on secrets, in one file. A file that was changed less
// than two seconds before it was hashed is not remembered: it might change again within the same tick of the
// clock. Thread safe.
class HashCache {
 public:
  // Reads the table; a missing or broken one is empty. Without a path nothing outlives the run.
  explicit HashCache(std::string path);

  [[nodiscard]] std::optional<FileHashes> find(const FileStamp& stamp) const;
  void add(const FileStamp& stamp, const FileHashes& hashes);
  // Takes what another table knows of files with these stamps, the device excepted: each machine numbers the
  // devices of network file systems in its own way.
  void adopt(const std::string& path, const std::vector<FileStamp>& stamps);
  // From now on save() writes there, and only what is known of files with these stamps.
  void divert(std::string path, const std::vector<FileStamp>& stamps);
  // Writes the table when something was added. Throws kIo.
  void save() const;

 private:
  using Table = std::map<FileStamp, FileHashes>;
  static Table read(const std::string& path);

  std::string path_;
  mutable std::mutex mutex_;
  Table table_;
  std::optional<std::set<FileStamp>> saved_;  // only these; nothing: all
  bool changed_ = false;
};

}  // namespace mu
