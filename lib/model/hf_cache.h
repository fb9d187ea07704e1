// SPDX-License-Identifier: Apache-2.0
// What the Hugging Face libraries and the Hub agree on: how a repository may be called, and how their cache
// keeps it on disk:
//   CACHE/models--OWNER--NAME/refs/REVISION         text: the name of a snapshot, usually 40 hex digits
//                            /blobs/HASH            content; SHA-256 (of files in LFS) or git blob id
//                            /snapshots/NAME/PATH   relative link to a blob
// Where the cache lies is read from the environment by net/environment.h and passed in. The rule that nothing
// writes into blobs holds for all output, so os/blobs.h knows their names; everything else about the layout
// is here. Source: huggingface_hub 2.4.0 (file_download.py, utils/_cache_manager.py, utils/_validators.py).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mu {

// Why "owner/name" or "name" can't be the id of a repository, or nothing.
std::optional<std::string> repo_id_fault(std::string_view id);
bool is_repo_id(std::string_view id);

// "models--OWNER--NAME" for a `type` ("model", "dataset", "space") and an id.
std::string cached_repo_name(std::string_view type, std::string_view id);

// The model that a path into any cache belongs to: …/models--OWNER--NAME[/snapshots/COMMIT[/…]]. Only the
// text of the path counts. Returns nothing for other paths, and where the name is not an id.
struct CachedModel {
  std::string id;      // "owner/name"
  std::string commit;  // 40 hex digits; empty where the path names none
};
std::optional<CachedModel> cached_model_at(std::string_view path);

// Whether a real path is …/models--OWNER--NAME/blobs/HASH, or the same for another type.
bool is_cache_blob(const std::string& real_path);

// The link to a blob that a snapshot holds under a name: "../../blobs/HASH", one more "../" for each folder.
std::string blob_link(std::string_view name, std::string_view hash);

struct CachedFile {
  std::string name;  // in the repository
  std::string hash;  // of its blob: 64 or 40 hex digits; empty for a file that does not link to one
  std::uint64_t size = 0;

  [[nodiscard]] bool is_lfs() const { return hash.size() == 64; }
};

// "config.json: its blob is missing …", for those who only report that.
std::string missing_blob_text(std::string_view name);

// A repository in a cache, read-only. No name in it leads elsewhere: folders of the layout that are links are
// refused (kMalformed).
class CachedRepo {
 public:
  // Whether refs/, blobs/ and snapshots/ may be links, to another disk for example: only for those who just look
  // something up.
  enum class Links : std::uint8_t { kRefused, kAllowed };
  // `name` as cached_repo_name() makes it.
  CachedRepo(std::string cache, std::string_view name, Links links = Links::kRefused);

  [[nodiscard]] const std::string& cache() const { return cache_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }  // CACHE/models--OWNER--NAME
  [[nodiscard]] std::string name() const;                              // models--OWNER--NAME
  [[nodiscard]] std::string refs_folder() const;
  [[nodiscard]] std::string blobs_folder() const;
  [[nodiscard]] std::string snapshots_folder() const;
  [[nodiscard]] std::string ref_path(std::string_view revision) const;  // throws kUsage for impossible names
  [[nodiscard]] std::string blob_path(std::string_view hash) const;
  [[nodiscard]] std::string snapshot_path(std::string_view commit) const;
  // The lock file that the libraries hold while they write a blob: CACHE/.locks/models--OWNER--NAME/NAME.lock
  [[nodiscard]] std::string lock_path(std::string_view name) const;
  // Where the libraries remember which files a snapshot does not have.
  [[nodiscard]] std::string missing_files_path(std::string_view commit) const;

  [[nodiscard]] bool is_there() const;
  // The names of all snapshots.
  [[nodiscard]] std::vector<std::string> snapshots() const;
  // The snapshot that a revision leads to: a ref, or at least 7 digits of the snapshot's own name. Returns
  // nothing where there is none. Throws kMalformed for a ref that does not hold the name of a snapshot.
  [[nodiscard]] std::optional<std::string> find_revision(std::string_view revision) const;
  // Whether the ref says this and nothing else, not even a line end.
  [[nodiscard]] bool is_exact(std::string_view revision, std::string_view commit) const;
  // Every ref: its revision and what it says.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> refs() const;
  // The files of a snapshot, by name. Those that link to a missing blob are left out, and `missing` is called with
  // their names. Throws kMalformed for links that lead out of the repository.
  using OnMissing = std::function<void(const std::string& name)>;
  [[nodiscard]] std::vector<CachedFile> files(std::string_view commit, const OnMissing& missing) const;

 private:
  void list(const std::string& path, const std::string& below, std::size_t depth, const OnMissing& missing,
            std::vector<CachedFile>& out) const;

  std::string cache_, folder_;
};

}  // namespace mu
