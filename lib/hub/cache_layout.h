// SPDX-License-Identifier: Apache-2.0
// The cache of the Hugging Face libraries on disk: where things lie, and what a repository in it holds.
//   CACHE/models--OWNER--NAME/refs/REVISION         text: the name of a snapshot, as a rule 40 hex digits
//                            /blobs/HASH            content; SHA-256 (of files in LFS) or git blob id
//                            /snapshots/NAME/PATH   relative link to a blob
// Source: huggingface_hub 2.4.0 (file_download.py, utils/_cache_manager.py).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/repo.h"

namespace mu {

// The folder that "file://DIR" names; hub_cache_home() for "file://" alone. Nothing for another endpoint.
// Throws kUsage where nothing tells where that is.
std::optional<std::string> cache_of_endpoint(std::string_view endpoint);

struct CachedFile {
  std::string name;  // in the repository
  std::string hash;  // of its blob: 64 or 40 hex digits; empty for a file that is no link to one
  std::uint64_t size = 0;

  [[nodiscard]] bool is_lfs() const { return hash.size() == 64; }
};

// A repository in a cache. Nothing is written by it, and no name in it leads elsewhere: folders of the layout
// that are links are refused (kMalformed).
class CachedRepo {
 public:
  CachedRepo(std::string cache, const Repo& repo);

  [[nodiscard]] const std::string& cache() const { return cache_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }  // CACHE/models--OWNER--NAME
  [[nodiscard]] std::string name() const;                              // models--OWNER--NAME
  [[nodiscard]] std::string ref_path(std::string_view revision) const;
  [[nodiscard]] std::string blob_path(std::string_view hash) const;
  [[nodiscard]] std::string snapshot_path(std::string_view commit) const;

  [[nodiscard]] bool is_there() const;
  // The snapshot a revision leads to; a snapshot's own name (at least 7 of its digits) will do. Nothing where
  // there is none. Throws kMalformed for a ref that holds no such name.
  [[nodiscard]] std::optional<std::string> find_revision(std::string_view revision) const;
  // True where the ref says this and nothing else, not even a line end.
  [[nodiscard]] bool is_exact(std::string_view revision, std::string_view commit) const;
  // Every ref: its revision and what it says.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> refs() const;
  // Its files by name. `warn` is told of links that lead to no blob; they are left out. Throws kMalformed for
  // links that lead out of the repository.
  [[nodiscard]] std::vector<CachedFile> files(std::string_view commit,
                                              const std::function<void(const std::string&)>& warn) const;

 private:
  void list(const std::string& path, const std::string& below, std::size_t depth,
            const std::function<void(const std::string&)>& warn, std::vector<CachedFile>& out) const;

  std::string cache_, folder_;
};

// The name of a snapshot made here: the id of the git tree that holds these files (regular files as blobs,
// those in LFS as their pointers), so that the same content has the same name. `files` by name.
std::string snapshot_id(const std::vector<CachedFile>& files);

}  // namespace mu
