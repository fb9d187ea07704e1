// SPDX-License-Identifier: Apache-2.0
#include "repo.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "base/bytes.h"
#include "hash/git_blob.h"

namespace hub {

namespace {

constexpr std::uint64_t kFirstCommitTime = 1767225600;  // 2026-01-01; each commit is a second later

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    bytes += static_cast<char>(value);
  }
  return bytes;
}

// A folder while ids are computed. git sorts entries by name, as if names of folders ended in "/".
struct Folder {
  std::map<std::string, Folder> folders;
  std::map<std::string, std::string> entries;  // sort key -> line of the tree object
};

std::string hash_folder(Folder& folder, const std::string& path, std::map<std::string, std::string>& ids) {
  for (auto& [name, child] : folder.folders) {
    const std::string id = hash_folder(child, path.empty() ? name : path + "/" + name, ids);
    folder.entries[name + "/"] = "40000 " + name + '\0' + from_hex(id);
  }
  std::string body;
  for (const auto& [key, line] : folder.entries) body += line;
  return ids[path] = mu::git_object_id("tree", mu::as_bytes(body));
}

std::map<std::string, std::string> tree_ids(const Tree& files) {
  Folder root;
  for (const auto& [path, file] : files) {
    Folder* folder = &root;
    std::size_t begin = 0;
    for (std::size_t slash; (slash = path.find('/', begin)) != std::string::npos; begin = slash + 1)
      folder = &folder->folders[path.substr(begin, slash - begin)];
    const std::string name = path.substr(begin);
    folder->entries[name] = "100644 " + name + '\0' + from_hex(file.git_id);
  }
  std::map<std::string, std::string> ids;
  hash_folder(root, "", ids);
  return ids;
}

std::optional<std::uint64_t> pull_number(std::string_view revision) {
  constexpr std::string_view kPrefix = "refs/pr/";
  if (!revision.starts_with(kPrefix)) return std::nullopt;
  revision.remove_prefix(kPrefix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(revision.data(), revision.data() + revision.size(), number);
  if (error != std::errc() || end != revision.data() + revision.size()) return std::nullopt;
  return number;
}

}  // namespace

std::uint64_t File::pointer_size() const {
  return mu::lfs_pointer(sha256, size).size();
}

File regular_file(std::string bytes) {
  File file;
  file.git_id = mu::git_object_id("blob", mu::as_bytes(bytes));
  file.size = bytes.size();
  file.content = std::make_shared<const Blob>(std::move(bytes));
  return file;
}

File lfs_file(BlobPointer content, std::string sha256) {
  File file;
  file.size = content->size();
  file.git_id = mu::git_object_id("blob", mu::as_bytes(mu::lfs_pointer(sha256, file.size)));
  file.sha256 = std::move(sha256);
  file.content = std::move(content);
  return file;
}

std::string Repo::web_prefix() const {
  return type == "model" ? "" : type + "s/";
}

const Commit* Repo::find(std::string_view revision) const {
  const auto commit_at = [&](const std::string& wanted) {
    const auto at = commits.find(wanted);
    return at == commits.end() ? nullptr : &at->second;
  };
  if (const auto branch = branches.find(std::string(revision)); branch != branches.end())
    return commit_at(branch->second);
  if (const auto tag = tags.find(std::string(revision)); tag != tags.end())
    return commit_at(tag->second.commit);
  if (const auto number = pull_number(revision)) {
    const auto pull = pull_heads.find(*number);
    return pull == pull_heads.end() ? nullptr : commit_at(pull->second);
  }
  if (revision.size() < 7 || revision.size() > 40) return nullptr;
  const auto at = commits.lower_bound(std::string(revision));
  return at != commits.end() && at->first.starts_with(revision) ? &at->second : nullptr;
}

std::string* Repo::head(std::string_view revision) {
  if (const auto branch = branches.find(std::string(revision)); branch != branches.end())
    return &branch->second;
  const auto number = pull_number(revision);
  if (!number) return nullptr;
  const auto pull = pull_heads.find(*number);
  return pull == pull_heads.end() ? nullptr : &pull->second;
}

const Commit& Repo::add_commit(const std::string& parent, Tree files, std::string title, std::string message,
                               std::string author) {
  Commit commit;
  commit.parent = parent;
  commit.title = std::move(title);
  commit.message = std::move(message);
  commit.author = std::move(author);
  commit.time = kFirstCommitTime + commits.size();
  commit.folders = tree_ids(files);
  commit.files = std::make_shared<const Tree>(std::move(files));
  const std::string who = fmt::format("{0} <{0}@example.org> {1} +0000", commit.author, commit.time);
  commit.id = mu::git_object_id(
      "commit",
      mu::as_bytes(fmt::format("tree {}\n{}author {}\ncommitter {}\n\n{}\n\n{}", commit.folders.at(""),
                               parent.empty() ? "" : "parent " + parent + "\n", who, who, commit.title,
                               commit.message)));
  return commits[commit.id] = commit;
}

}  // namespace hub
