// SPDX-License-Identifier: Apache-2.0
#include "hub/repositories.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "hub/pin.h"
#include "hub/snapshot.h"
#include "model/roles.h"
#include "os/far.h"
#include "os/folder.h"
#include "os/parts.h"

namespace mu {
namespace {

std::string key_of(const RemotePlace& place) {
  return place.repo.web_path() + "@" + place.revision;
}

// Whether the snapshot has all that lies below the place; what a copy leaves out does not count.
bool is_whole(const Snapshot& snapshot, const PinnedRepo& repo) {
  const std::string below = repo.place.path.empty() ? "" : repo.place.path + "/";
  return std::all_of(repo.files.begin(), repo.files.end(), [&](const RemoteFile& file) {
    return !(file.path == repo.place.path || file.path.starts_with(below)) ||
           base_name(file.path) == ".gitattributes" || snapshot.files.contains(file.path);
  });
}

void require_there(const PinnedRepo& repo, const std::string& path) {
  const bool is_there =
      path.empty() || std::any_of(repo.files.begin(), repo.files.end(), [&](const RemoteFile& file) {
        return file.path == path || file.path.starts_with(path + "/");
      });
  if (!is_there)
    throw Error(ErrorKind::kRemote,
                fmt::format("the repository has no such file or folder at commit {}", repo.commit))
        .in_file(escape_name(repo.place.name + "/" + path));
}

bool may_hold_weights(std::string_view path) {
  const FileRole role = role_of(base_name(path), false);
  return role == FileRole::kWeights || role == FileRole::kTorchWeights || role == FileRole::kOtherWeights ||
         path.ends_with(".distcp") || path.ends_with(".npy") || path.ends_with(".npz");
}

// Whether any weights lie at the mounted place, or below it.
bool holds_weights(const RemotePlace& place) {
  const std::string below = place.path.empty() ? "" : place.path + "/";
  const std::optional<FarPlace> mounted = find_far(place.name);
  return mounted && std::any_of(mounted->folder->begin(), mounted->folder->end(), [&](const auto& file) {
           return file.first == place.path || (file.first.starts_with(below) && may_hold_weights(file.first));
         });
}

}  // namespace

// The commit of a repository: known already, pinned, or looked up.
PinnedRepo& Repositories::pinned(HubSession& session, const RemotePlace& place) {
  const std::string key = key_of(place);
  if (const auto known = repos_.find(key); known != repos_.end()) {
    known->second.place = place;
    return known->second;
  }
  if (!options_.pins.empty()) {
    const std::string path = pin_path(options_.pins, place);
    if (std::optional<PinnedRepo> repo = read_pin(path, place)) {
      options_.note(fmt::format("{} is read at commit {}, which {} pins", escape_name(place.name),
                                repo->commit, escape_name(path)));
      return repos_.emplace(key, std::move(*repo)).first->second;
    }
  }
  return repos_.emplace(key, pin_repo(session, place)).first->second;
}

bool Repositories::mount_near(const PinnedRepo& repo) {
  if (options_.cache.empty()) return false;
  const std::optional<Snapshot> snapshot = find_snapshot(options_.cache, repo);
  if (!snapshot) return false;
  mount_snapshot(repo, *snapshot);
  near_.emplace(repo.place.name, snapshot->folder);
  if (is_whole(*snapshot, repo)) report_snapshots();
  return true;
}

// Writes the pin. False if another part was first, with another commit.
bool Repositories::share(const PinnedRepo& repo) {
  const std::string path = pin_path(options_.pins, repo.place);
  if (write_pin(path, repo)) {
    written_.push_back(path);
    return true;
  }
  const std::optional<PinnedRepo> theirs = read_pin(path, repo.place);
  return !theirs || theirs->commit == repo.commit;
}

RemoteHashes Repositories::mount(HubSession& session, const RemotePlace& place, unsigned jobs) {
  if (!mounted_.emplace(place.name, place.path).second) return {};
  const bool is_new = !repos_.contains(key_of(place));
  const PinnedRepo& repo = pinned(session, place);
  if (options_.models) require_there(repo, place.path);
  RemoteHashes hashes;
  if (!near_.contains(place.name) && !mount_near(repo)) hashes = mount_repo(session, repo, jobs);
  if (is_new && options_.writes_pins && !share(repo)) {
    unmount_far(place.name);
    near_.erase(place.name);
    repos_.erase(key_of(place));
    mounted_.erase({place.name, place.path});
    return mount(session, place, jobs);
  }
  return hashes;
}

void Repositories::mount_offline(const std::string& cache_folder, RemotePlace place) {
  if (!options_.pins.empty()) {
    if (const std::optional<PinnedRepo> repo = read_pin(pin_path(options_.pins, place), place))
      place.revision = repo->commit;
  }
  mount_cached(cache_folder, place);
  if (options_.models && !holds_weights(place))
    throw Error(ErrorKind::kIo,
                fmt::format("no weights of it are in the cache {}", escape_name(cache_folder)))
        .in_file(escape_name(place.name))
        .hint("unset HF_HUB_OFFLINE to read them from the hub");
}

void Repositories::drop_snapshots() {
  for (const auto& [name, folder] : near_) {
    unmount_far(name);
    std::erase_if(mounted_, [&name = name](const auto& place) { return place.first == name; });
  }
  near_.clear();
  options_.cache.clear();
}

void Repositories::report_snapshots() {
  for (const auto& [name, folder] : near_) {
    if (reported_.insert(name).second)
      options_.note(fmt::format("{} is read from the snapshot of this commit: {}", escape_name(name),
                                escape_name(folder)));
  }
}

void Repositories::remove_pins() const {
  if (written_.empty() || !is_folder(options_.pins)) return;
  for (const FolderEntry& entry : list_folder(options_.pins)) {
    if (!entry.name.starts_with(kPinPrefix)) return;
  }
  for (const std::string& path : written_) ::unlink(path.c_str());
  ::rmdir(options_.pins.c_str());  // fails if another part pinned something
}

}  // namespace mu
