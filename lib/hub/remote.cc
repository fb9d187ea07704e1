// SPDX-License-Identifier: Apache-2.0
// Every remote file is a RangedFile behind os/far.h. Mounting fetches the first 100,001 bytes of each
// safetensors file that the user looks at, in parallel, and what is left of a longer header: from then on
// headers are in memory, and listing a model costs no further request.
#include "hub/remote.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "hub/api.h"
#include "hub/ranged_file.h"
#include "model/hf_cache.h"
#include "net/url.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/threads.h"
#include "weights/index.h"

namespace mu {
namespace {

void make_readable(FarFile& far, const std::shared_ptr<RangedFile>& file) {
  far.size = file->size();
  far.read = [file](std::uint64_t offset, std::span<std::byte> out) { file->read(offset, out); };
  far.start = file->head();
}

// Where the files of a mounted repository come from.
struct RepoOrigin {
  HubSession& session;
  RemotePlace place;
  std::string commit;
};

std::shared_ptr<RangedFile> open_file(const RepoOrigin& from, const RemoteFile& file) {
  RangedSource source;
  source.url = fmt::format("{}{}/resolve/{}/{}", from.session.endpoint(), from.place.repo.web_path(),
                           from.commit, percent_encode_path(file.path));
  source.name = from.place.name + "/" + file.path;
  source.listed = file;
  source.look_up = [&session = from.session, where = from.place.repo, commit = from.commit,
                    path = file.path] {
    const std::vector<RemoteFile> found = HubApi(session, where).find_files(commit, {path});
    return found.empty() ? std::nullopt : std::optional(found.front());
  };
  return std::make_shared<RangedFile>(from.session, std::move(source));
}

// Of the many files of a repository few are read: the others cost the memory of their names.
auto opened_late(std::shared_ptr<const RepoOrigin> from, const RemoteFile& file) {
  struct Late {
    std::mutex mutex;
    std::shared_ptr<RangedFile> file;
    RemoteFile listed;
  };
  const auto late = std::make_shared<Late>();
  late->listed = file;
  return [from = std::move(from), late](std::uint64_t offset, std::span<std::byte> out) {
    std::unique_lock<std::mutex> lock(late->mutex);
    if (!late->file) late->file = open_file(*from, late->listed);
    const std::shared_ptr<RangedFile> open = late->file;
    lock.unlock();
    open->read(offset, out);
  };
}

// Whether the user looks at the folder of this file, so that its header will be needed.
bool is_looked_at(const RemoteFile& file, const std::string& path) {
  if (!file.path.ends_with(".safetensors")) return false;
  return file.path == path ||
         (path.empty() ? file.path.find('/') == std::string::npos : parent_of(file.path) == path);
}

// Whether it is mounted already, with its first bytes.
bool has_start(const std::string& name) {
  const FarFile* const far = far_file(name);
  return far != nullptr && !far->start.empty();
}

// Of equal texts the bytes are equal: the last part is the SHA-256 of the file, or its git blob id.
std::string version_of(const PinnedRepo& repo, const RemoteFile& file) {
  return fmt::format("{}@{}/{} {}", repo.place.repo.web_path(), repo.commit, file.path,
                     file.sha256.empty() ? file.blob : file.sha256);
}

Url parse_operand(const std::string& url) {
  try {
    return parse_url(url);
  } catch (const Error& error) {
    throw usage(error.message());
  }
}

// Another one in each run: what a server does not tell apart is never mixed.
std::string unknown_version() {
  std::random_device dice;
  return fmt::format("unknown-{:08x}{:08x}", dice(), dice());
}

}  // namespace

FarFile far_file_of(const PinnedRepo& repo, const RemoteFile& file) {
  FarFile far;
  far.size = file.size;
  far.name = repo.place.name + "/" + file.path;
  far.sha256 = file.sha256;
  far.version = version_of(repo, file);
  return far;
}

PinnedRepo pin_repo(HubSession& session, const RemotePlace& place, std::string commit) {
  HubApi api(session, place.repo);
  if (commit.empty()) {
    RevisionState state = api.find_revision(place.revision);
    if (state.found != RevisionState::Found::kYes || state.commit.empty())
      throw Error(
          ErrorKind::kRemote,
          fmt::format("there is no {} at {}, or this token may not see it",
                      state.found == RevisionState::Found::kNoRevision
                          ? fmt::format("revision {} of {}", escape_name(place.revision), place.repo.id)
                          : place.repo.id,
                      session.endpoint()));
    commit = std::move(state.commit);
  }
  std::vector<RemoteFile> files = api.list_files(commit, "");
  return {place, std::move(commit), std::move(files)};
}

RemoteHashes mount_repo(HubSession& session, const PinnedRepo& repo, unsigned jobs) {
  const RemotePlace& place = repo.place;
  const auto origin = std::make_shared<const RepoOrigin>(RepoOrigin{session, place, repo.commit});
  std::map<std::size_t, std::shared_ptr<RangedFile>> files;  // those with a head
  std::vector<RangedFile*> heads;                            // of them, to be fetched
  for (std::size_t i = 0; i < repo.files.size(); ++i) {
    const RemoteFile& file = repo.files[i];
    const auto head = repo.heads.find(file.path);
    const bool is_known = head != repo.heads.end();
    if (!is_known && (!is_looked_at(file, place.path) || has_start(place.name + "/" + file.path))) continue;
    files[i] = open_file(*origin, file);
    if (is_known) files[i]->set_head(head->second);
    if (!is_known) heads.push_back(files[i].get());
  }
  parallel_for(heads.size(), jobs, [&](std::size_t i) { heads[i]->read_head(true); });
  FarFolder folder;
  RemoteHashes hashes;
  for (std::size_t i = 0; i < repo.files.size(); ++i) {
    const RemoteFile& file = repo.files[i];
    FarFile far = far_file_of(repo, file);
    if (const auto open = files.find(i); open != files.end())
      make_readable(far, open->second);
    else
      far.read = opened_late(origin, file);
    if (!file.sha256.empty()) hashes[far.name] = file.sha256;
    folder.emplace(file.path, std::move(far));
  }
  mount_far(place.name, std::move(folder));
  return hashes;
}

std::string mount_url(HubSession& session, const std::string& url) {
  const Url parsed = parse_operand(url);
  if (parsed.scheme == "http" && !is_loopback(parsed))
    throw usage(fmt::format("'{}' would be read without encryption", escape_name(url))).hint("use https://");
  RangedSource source;
  source.url = url;
  source.name = printable_url(url);
  const auto file = std::make_shared<RangedFile>(session, std::move(source));
  file->read_head(url.ends_with(".safetensors"));
  FarFile far;
  make_readable(far, file);
  far.name = printable_url(url);
  far.sha256 = file->sha256();
  const std::string version = file->version();
  far.version = fmt::format("{} {} {}", far.name, version.empty() ? unknown_version() : version, far.size);
  mount_far(url, {{"", std::move(far)}});
  if (file->is_held_firmly()) return "";
  if (!version.empty())
    return "the server sends no strong ETag: the file is unverified, held to its date and length alone";
  return "the server sends neither a strong ETag nor a date: the file is unverified, held to its length "
         "alone; a run "
         "that is cut off starts anew, and parts do not fit together";
}

namespace {

Error not_cached(const std::string& what, const std::string& cache_folder) {
  return Error(ErrorKind::kIo, fmt::format("is not in the cache {}", escape_name(cache_folder)))
      .in_file(escape_name(what))
      .hint(is_offline() ? "unset HF_HUB_OFFLINE to read it from the hub"
                         : "HF_ENDPOINT names this folder: set it to a hub's address to read from there");
}

// The shards that an index in the snapshot names.
std::vector<std::string> named_shards(const FarFile& index, const std::string& path) {
  std::vector<std::string> shards;
  try {
    Findings ignored;
    const std::string folder = path.substr(0, path.rfind('/') + 1);
    for (const std::string& shard :
         parse_shard_index(read_whole_file(index.local, kMaxIndexBytes), path, ignored).shards)
      shards.push_back(folder + shard);
  } catch (const Error&) {  // whoever opens it says so
  }
  return shards;
}

}  // namespace

void mount_cached(const std::string& cache_folder, const RemotePlace& place) {
  const CachedRepo repo(cache_folder, cached_repo_name(repo_type_name(place.repo.type), place.repo.id));
  const std::optional<std::string> commit = repo.find_revision(place.revision);
  if (!commit) throw not_cached(fmt::format("{} at {}", place.repo.id, place.revision), cache_folder);
  FarFolder folder;
  std::vector<std::string> missing;
  for (const CachedFile& file :
       repo.files(*commit, [&](const std::string& name) { missing.push_back(name); })) {
    FarFile far = far_file_of({place, *commit, {}, {}}, {file.name, file.size, file.is_lfs() ? "" : file.hash,
                                                         file.is_lfs() ? file.hash : ""});
    far.local = join_path(repo.snapshot_path(*commit), file.name);
    if (file.name.ends_with(".index.json")) {
      for (std::string& shard : named_shards(far, file.name)) missing.push_back(std::move(shard));
    }
    folder.emplace(file.name, std::move(far));
  }
  for (const std::string& path : missing) {
    FarFile far;
    far.name = place.name + "/" + path;
    far.refuse = [name = far.name, cache_folder] { throw not_cached(name, cache_folder); };
    folder.emplace(path, std::move(far));  // does nothing for one that is there
  }
  mount_far(place.name, std::move(folder));
  const std::string shown = place.path.empty() ? place.name : place.name + "/" + place.path;
  if (!exists(shown)) throw not_cached(shown, cache_folder);
}

}  // namespace mu
