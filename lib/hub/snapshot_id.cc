// SPDX-License-Identifier: Apache-2.0
#include "hub/snapshot_id.h"

#include <map>
#include <string_view>

#include "base/bytes.h"
#include "hash/git_blob.h"

namespace mu {
namespace {

using Names = std::vector<const CachedFile*>;

// The tree of files that share the first `skip` bytes of their names: a folder's path and "/".
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

std::string snapshot_id(const std::vector<CachedFile>& files) {
  Names names;
  for (const CachedFile& file : files) names.push_back(&file);
  return tree_id(names, 0);
}

}  // namespace mu
