// SPDX-License-Identifier: Apache-2.0
#include "hub/cache_layout.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "hash/git_blob.h"
#include "net/environment.h"
#include "os/blobs.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::size_t kMaxDepth = 100;  // folders in folders
constexpr std::size_t kMaxRef = 4096;   // bytes

bool is_hex(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// A folder of the layout, or nothing at all.
void require_plain_folder(const std::string& path) {
  const std::optional<struct stat> status = find_status(path, false);
  if (!status || S_ISDIR(status->st_mode)) return;
  throw malformed(S_ISLNK(status->st_mode) ? "is a link, which a cache does not have there" : "is no folder")
      .in_file(escape_name(path));
}

std::string read_link(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  if (size < 0) throw io_error("read the link", errno, escape_name(path));
  return {target.data(), static_cast<std::size_t>(size)};
}

void check_revision(std::string_view revision) {
  for (const std::string_view part : split(revision, '/')) {
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos)
      throw usage(fmt::format("'{}' is no name of a revision", escape_name(revision)));
  }
}

using Names = std::vector<const CachedFile*>;

// The tree of those names that begin with the first `skip` bytes of theirs, which is a folder's path and "/".
std::string tree_id(const Names& files, std::size_t skip) {
  struct Entry {
    bool is_folder;
    std::string id;
  };
  std::map<std::string, Entry> entries;  // a folder's name is sorted as if it ended in "/"
  for (std::size_t i = 0; i < files.size();) {
    const std::string_view rest = std::string_view(files[i]->name).substr(skip);
    const std::size_t slash = rest.find('/');
    if (slash == std::string_view::npos) {
      const CachedFile& file = *files[i++];
      entries[std::string(rest)] = {
          false,
          file.is_lfs() ? git_object_id("blob", as_bytes(lfs_pointer(file.hash, file.size))) : file.hash};
      continue;
    }
    const std::string folder(rest.substr(0, slash + 1));
    Names inside;
    for (; i < files.size() && std::string_view(files[i]->name).substr(skip).starts_with(folder); ++i)
      inside.push_back(files[i]);
    entries[folder] = {true, tree_id(inside, skip + folder.size())};
  }
  std::string body;
  for (const auto& [name, entry] : entries) {
    body += entry.is_folder ? "40000 " + name.substr(0, name.size() - 1) : "100644 " + name;
    body += '\0';
    for (std::size_t i = 0; i + 1 < entry.id.size(); i += 2)
      body += static_cast<char>(std::stoi(entry.id.substr(i, 2), nullptr, 16));
  }
  return git_object_id("tree", as_bytes(body));
}

}  // namespace

std::optional<std::string> cache_of_endpoint(std::string_view endpoint) {
  constexpr std::string_view kScheme = "file:";
  if (!endpoint.starts_with(kScheme)) return std::nullopt;
  std::string_view path = endpoint.substr(kScheme.size());
  if (path.starts_with("//")) path.remove_prefix(2);
  const std::string folder = path.empty() ? hub_cache_home() : tidy_path(std::string(path));
  if (path.empty() && folder.starts_with('~'))
    throw usage("nothing tells where your cache is: HOME is unset").hint("name it: file://DIR, or HF_HOME");
  return folder.starts_with('/') ? folder : join_path(tidy_path("."), folder);
}

CachedRepo::CachedRepo(std::string cache, const Repo& repo) : cache_(std::move(cache)) {
  std::string name = std::string(repo_type_name(repo.type)) + "s--" + repo.id;
  if (const std::size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  folder_ = join_path(cache_, name);
  for (const char* part : {"refs", "blobs", "snapshots"}) require_plain_folder(join_path(folder_, part));
}

std::string CachedRepo::name() const {
  return std::string(base_name(folder_));
}

std::string CachedRepo::ref_path(std::string_view revision) const {
  check_revision(revision);
  std::string path = join_path(folder_, "refs");
  const std::vector<std::string_view> parts = split(revision, '/');
  for (std::size_t i = 0; i < parts.size(); ++i) {
    path = join_path(path, parts[i]);
    if (i + 1 < parts.size()) require_plain_folder(path);
  }
  return path;
}

std::string CachedRepo::blob_path(std::string_view hash) const {
  return join_path(join_path(folder_, "blobs"), hash);
}

std::string CachedRepo::snapshot_path(std::string_view commit) const {
  return join_path(join_path(folder_, "snapshots"), commit);
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
      throw malformed("holds no name of a snapshot").in_file(escape_name(path));
    if (!is_folder(snapshot_path(commit))) return std::nullopt;
    return commit;
  }
  if (revision.size() < 7 || !is_hex(revision) || !is_folder(join_path(folder_, "snapshots")))
    return std::nullopt;
  for (const FolderEntry& entry : list_folder(join_path(folder_, "snapshots"))) {
    if (entry.kind == FolderEntry::Kind::kFolder && entry.name.starts_with(revision)) return entry.name;
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
        if (depth > kMaxDepth) throw malformed("too many folders in folders").in_file(escape_name(path));
        for (const FolderEntry& entry : list_folder(path)) {
          const std::string inside = join_path(path, entry.name);
          if (entry.kind == FolderEntry::Kind::kFolder && !entry.is_link)
            walk(inside, below + entry.name + "/", depth + 1);
          else if (entry.kind == FolderEntry::Kind::kFile)
            found.emplace_back(below + entry.name, trim(read_whole_file(inside, kMaxRef)));
        }
      };
  const std::string root = join_path(folder_, "refs");
  if (is_folder(root)) walk(root, "", 0);
  return found;
}

std::vector<CachedFile> CachedRepo::files(std::string_view commit,
                                          const std::function<void(const std::string&)>& warn) const {
  std::vector<CachedFile> found;
  require_plain_folder(snapshot_path(commit));
  list(snapshot_path(commit), "", 0, warn, found);
  std::sort(found.begin(), found.end(),
            [](const CachedFile& a, const CachedFile& b) { return a.name < b.name; });
  return found;
}

void CachedRepo::list(const std::string& path, const std::string& below, std::size_t depth,
                      const std::function<void(const std::string&)>& warn,
                      std::vector<CachedFile>& out) const {
  if (depth > kMaxDepth) throw malformed("too many folders in folders").in_file(escape_name(path));
  for (const FolderEntry& entry : list_folder(path)) {
    const std::string inside = join_path(path, entry.name);
    if (!entry.is_link) {
      if (entry.kind == FolderEntry::Kind::kFolder)
        list(inside, below + entry.name + "/", depth + 1, warn, out);
      else if (entry.kind == FolderEntry::Kind::kFile)
        out.push_back({below + entry.name, "", entry.stamp.size});
      continue;
    }
    // snapshots/COMMIT/a/b -> ../../../blobs/HASH
    const std::string target = read_link(inside);
    std::string up;
    for (std::size_t i = 0; i < depth + 2; ++i) up += "../";
    const std::string hash(base_name(target));
    if (target != up + "blobs/" + hash || !is_blob_hash(hash))
      throw malformed("is a link that leads out of the cache's blobs")
          .in_file(escape_name(inside))
          .hint("remove it, or push into another cache");
    if (entry.kind != FolderEntry::Kind::kFile) {
      warn(escape_name(below + entry.name) + ": its blob is missing in the cache; left out");
      continue;
    }
    out.push_back({below + entry.name, hash, entry.stamp.size});
  }
}

std::string snapshot_id(const std::vector<CachedFile>& files) {
  Names names;
  for (const CachedFile& file : files) names.push_back(&file);
  return tree_id(names, 0);
}

}  // namespace mu
