// SPDX-License-Identifier: Apache-2.0
#include "hub/snapshot.h"

#include "base/error.h"
#include "model/hf_cache.h"
#include "os/far.h"
#include "os/folder.h"

namespace mu {
namespace {

bool is_same(const CachedFile& cached, const RemoteFile& listed) {
  return cached.size == listed.size &&
         (!cached.is_lfs() || listed.sha256.empty() || cached.hash == listed.sha256);
}

}  // namespace

std::optional<Snapshot> find_snapshot(const std::string& cache_folder, const PinnedRepo& repo) {
  const Repo& where = repo.place.repo;
  const CachedRepo cached(cache_folder, cached_repo_name(repo_type_name(where.type), where.id),
                          CachedRepo::Links::kAllowed);
  Snapshot snapshot{cached.snapshot_path(repo.commit), {}};
  std::map<std::string, CachedFile> there;
  try {
    if (!is_folder(snapshot.folder)) return std::nullopt;
    for (CachedFile& file : cached.files(repo.commit, [](const std::string&) {}))
      there.emplace(file.name, std::move(file));
  } catch (const Error&) {  // not to be relied on
    return std::nullopt;
  }
  for (const RemoteFile& file : repo.files) {
    const auto found = there.find(file.path);
    if (found != there.end() && is_same(found->second, file))
      snapshot.files.emplace(file.path, join_path(snapshot.folder, file.path));
  }
  if (snapshot.files.empty()) return std::nullopt;
  return snapshot;
}

void mount_snapshot(const PinnedRepo& repo, const Snapshot& snapshot) {
  FarFolder folder;
  for (const RemoteFile& file : repo.files) {
    FarFile far = far_file_of(repo, file);
    if (const auto found = snapshot.files.find(file.path); found != snapshot.files.end()) {
      far.local = found->second;
    } else {
      far.refuse = [name = far.name] { throw SnapshotLacks{name}; };
    }
    folder.emplace(file.path, std::move(far));
  }
  mount_far(repo.place.name, std::move(folder));
}

}  // namespace mu
