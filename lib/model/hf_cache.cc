// SPDX-License-Identifier: Apache-2.0
// Names decide. Ids and revisions are checked as text before a path is made of them, folders of the layout may
// not be links, and a link in a snapshot must be, letter for letter, the one that leads to a blob (blob_link).
// What deviates is refused and left alone: the libraries would not have made it. Nothing is remembered between
// calls, because other processes write the cache at the same time.
#include "model/hf_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"
#include "base/text.h"
#include "os/blobs.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::size_t kMaxDepth = 100;  // folders in folders
constexpr std::size_t kMaxRef = 4096;   // bytes

// A folder of the layout, or nothing at all.
void require_plain_folder(const std::string& path) {
  const std::optional<struct stat> status = find_status(path, false);
  if (!status || S_ISDIR(status->st_mode)) return;
  throw malformed(S_ISLNK(status->st_mode) ? "is a link; the libraries never make one there"
                                           : "is not a folder")
      .in_file(escape_name(path));
}

std::string read_link(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) throw io_error("read the link", errno, escape_name(path));
  return {target.data(), static_cast<std::size_t>(size)};
}

std::optional<std::string> component_fault(std::string_view name) {
  if (name.empty()) return "owner or name is empty";
  if (name.size() > 96) return "owner or name is longer than 96 characters";
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (!plain) return "only letters, digits, '-', '_' and '.' are allowed";
  if (name.front() == '-' || name.front() == '.' || name.back() == '-' || name.back() == '.')
    return "owner or name starts or ends with '-' or '.'";
  return std::nullopt;
}

void check_revision(std::string_view revision) {
  for (const std::string_view name : split(revision, '/')) {
    if (name.empty() || name == "." || name == ".." || name.find('\0') != std::string_view::npos)
      throw usage(fmt::format("'{}' is not a revision name", escape_name(revision)));
  }
}

}  // namespace

std::optional<std::string> repo_id_fault(std::string_view id) {
  if (std::count(id.begin(), id.end(), '/') > 1) return "it has more than one '/'";
  if (id.find("--") != std::string_view::npos || id.find("..") != std::string_view::npos)
    return "'--' and '..' are not allowed";
  if (id.ends_with(".git")) return "it ends with '.git'";
  for (const std::string_view name : split(id, '/')) {
    if (std::optional<std::string> fault = component_fault(name)) return fault;
  }
  return std::nullopt;
}

bool is_repo_id(std::string_view id) {
  return !repo_id_fault(id);
}

std::string cached_repo_name(std::string_view type, std::string_view id) {
  std::string name = fmt::format("{}s--{}", type, id);
  if (const std::size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

std::optional<CachedModel> cached_model_at(std::string_view path) {
  static constexpr std::string_view kPrefix = "models--";
  const std::vector<std::string_view> names = split(path, '/');
  const auto repo = std::find_if(names.begin(), names.end(),
                                 [](std::string_view name) { return name.starts_with(kPrefix); });
  if (repo == names.end()) return std::nullopt;
  CachedModel model{std::string(repo->substr(kPrefix.size())), ""};
  if (const std::size_t dashes = model.id.find("--"); dashes != std::string::npos)
    model.id.replace(dashes, 2, "/");
  if (!is_repo_id(model.id)) return std::nullopt;
  if (names.end() - repo > 2 && repo[1] == "snapshots" && repo[2].size() == 40 && is_lower_hex(repo[2]))
    model.commit = repo[2];
  return model;
}

bool is_cache_blob(const std::string& real_path) {
  const std::string blobs = parent_of(real_path), repo = parent_of(blobs);
  return is_blob_hash(base_name(real_path)) && base_name(blobs) == "blobs" &&
         is_cached_repo_name(base_name(repo));
}

std::string blob_link(std::string_view name, std::string_view hash) {
  std::string link;
  for (auto folders = std::count(name.begin(), name.end(), '/') + 2; folders > 0; --folders) link += "../";
  return link + "blobs/" + std::string(hash);
}

std::string missing_blob_text(std::string_view name) {
  return escape_name(name) + ": its blob is missing from the cache; left out";
}

CachedRepo::CachedRepo(std::string cache, std::string_view name, Links links)
    : cache_(std::move(cache)), folder_(join_path(cache_, name)) {
  if (links == Links::kAllowed) return;
  for (const char* below : {"refs", "blobs", "snapshots"}) require_plain_folder(join_path(folder_, below));
}

std::string CachedRepo::name() const {
  return std::string(base_name(folder_));
}

std::string CachedRepo::refs_folder() const {
  return join_path(folder_, "refs");
}

std::string CachedRepo::blobs_folder() const {
  return join_path(folder_, "blobs");
}

std::string CachedRepo::snapshots_folder() const {
  return join_path(folder_, "snapshots");
}

std::string CachedRepo::lock_path(std::string_view name) const {
  return join_path(join_path(join_path(cache_, ".locks"), this->name()), std::string(name) + ".lock");
}

std::string CachedRepo::missing_files_path(std::string_view commit) const {
  return join_path(join_path(folder_, ".no_exist"), commit);
}

std::string CachedRepo::ref_path(std::string_view revision) const {
  check_revision(revision);
  std::string path = refs_folder();
  const std::vector<std::string_view> names = split(revision, '/');
  for (std::size_t i = 0; i < names.size(); ++i) {
    path = join_path(path, names[i]);
    if (i + 1 < names.size()) require_plain_folder(path);
  }
  return path;
}

std::string CachedRepo::blob_path(std::string_view hash) const {
  return join_path(blobs_folder(), hash);
}

std::string CachedRepo::snapshot_path(std::string_view commit) const {
  return join_path(snapshots_folder(), commit);
}

bool CachedRepo::is_there() const {
  return is_folder(folder_);
}

std::optional<std::string> CachedRepo::find_revision(std::string_view revision) const {
  const std::string path = ref_path(revision);
  if (exists(path) && !is_folder(path)) {
    const std::string text = read_whole_file(path, kMaxRef);
    const std::string commit(trim(text));
    if (commit.empty() || commit.find_first_of("/\n") != std::string::npos || commit.starts_with('.'))
      throw malformed("does not hold the name of a snapshot").in_file(escape_name(path));
    if (!is_folder(snapshot_path(commit))) return std::nullopt;
    return commit;
  }
  if (revision.size() < 7 || !is_lower_hex(revision)) return std::nullopt;
  for (const std::string& name : snapshots()) {
    if (name.starts_with(revision)) return name;
  }
  return std::nullopt;
}

bool CachedRepo::is_exact(std::string_view revision, std::string_view commit) const {
  const std::string path = ref_path(revision);
  return !exists(path) || is_folder(path) || read_whole_file(path, kMaxRef) == commit;
}

std::vector<std::pair<std::string, std::string>> CachedRepo::refs() const {
  std::vector<std::pair<std::string, std::string>> found;
  const std::function<void(const std::string&, const std::string&, std::size_t)> walk =
      [&](const std::string& path, const std::string& below, std::size_t depth) {
        if (depth > kMaxDepth) throw malformed("folders are nested too deeply").in_file(escape_name(path));
        for (const FolderEntry& entry : list_folder(path)) {
          const std::string inside = join_path(path, entry.name);
          if (entry.kind == FolderEntry::Kind::kFolder && !entry.is_link)
            walk(inside, below + entry.name + "/", depth + 1);
          else if (entry.kind == FolderEntry::Kind::kFile)
            found.emplace_back(below + entry.name, trim(read_whole_file(inside, kMaxRef)));
        }
      };
  const std::string root = refs_folder();
  if (is_folder(root)) walk(root, "", 0);
  return found;
}

std::vector<std::string> CachedRepo::snapshots() const {
  std::vector<std::string> names;
  const std::string root = snapshots_folder();
  if (!is_folder(root)) return names;
  for (const FolderEntry& entry : list_folder(root)) {
    if (entry.kind == FolderEntry::Kind::kFolder) names.push_back(entry.name);
  }
  return names;
}

std::vector<CachedFile> CachedRepo::files(std::string_view commit, const OnMissing& missing) const {
  std::vector<CachedFile> found;
  require_plain_folder(snapshot_path(commit));
  list(snapshot_path(commit), "", 0, missing, found);
  std::sort(found.begin(), found.end(),
            [](const CachedFile& a, const CachedFile& b) { return a.name < b.name; });
  return found;
}

void CachedRepo::list(const std::string& path, const std::string& below, std::size_t depth,
                      const OnMissing& missing, std::vector<CachedFile>& out) const {
  if (depth > kMaxDepth) throw malformed("folders are nested too deeply").in_file(escape_name(path));
  for (const FolderEntry& entry : list_folder(path)) {
    const std::string inside = join_path(path, entry.name);
    if (!entry.is_link) {
      if (entry.kind == FolderEntry::Kind::kFolder)
        list(inside, below + entry.name + "/", depth + 1, missing, out);
      else if (entry.kind == FolderEntry::Kind::kFile)
        out.push_back({below + entry.name, "", entry.stamp.size});
      continue;
    }
    const std::string target = read_link(inside);
    const std::string hash(base_name(target));
    if (target != blob_link(below + entry.name, hash) || !is_blob_hash(hash))
      throw malformed("is a link that leads out of the cache's blobs")
          .in_file(escape_name(inside))
          .hint("remove it, or push into another cache");
    if (entry.kind != FolderEntry::Kind::kFile) {
      missing(below + entry.name);
      continue;
    }
    out.push_back({below + entry.name, hash, entry.stamp.size});
  }
}

}  // namespace mu
