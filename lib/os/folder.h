// SPDX-License-Identifier: Apache-2.0
// Folders and paths.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "os/file.h"

namespace mu {

struct FolderEntry {
  enum class Kind : std::uint8_t { kFile, kFolder, kOther };
  std::string name;
  Kind kind;  // of what a symbolic link ends at; a broken link is kOther
  bool is_link;
  FileStamp stamp;  // of what it ends at
};

// The entries of a folder, sorted bytewise, "." and ".." left out. Throws kIo, and kMalformed beyond a
// million.
std::vector<FolderEntry> list_folder(const std::string& path);

// The status of a path, or of what it links to unless `follow` is off; nothing when it does not exist. Throws
// kIo when that can't be found out.
std::optional<struct stat> find_status(const std::string& path, bool follow = true);

bool exists(const std::string& path);     // links followed
bool is_folder(const std::string& path);  // links followed
// Whether something is there and we may look at it: false, for example, in the home of another user.
bool is_in_reach(const std::string& path);

std::string join_path(std::string_view folder, std::string_view name);
std::string_view base_name(std::string_view path);
std::string parent_of(std::string_view path);  // "." when there is no slash
// The path without trailing slashes and, where its last part is "." or "..", as the folder's real path.
std::string tidy_path(const std::string& path);

// The path without links, absolute, also where a folder above may not be searched. Throws kIo.
std::string resolved_path(const std::string& path);
// The same; nothing when it does not exist.
std::optional<std::string> find_real_path(const std::string& path);

// Makes a folder and those above it. One that exists is fine. Throws kIo.
void make_folders(const std::string& path);
// The same; folders that it makes are for this user only (0700).
void make_private_folder(const std::string& path);

// Makes names in a folder durable. Throws kIo.
void sync_folder(const std::string& path);

// Throws kIo when the file system of `path` has less than `bytes` free.
void require_space(const std::string& path, std::uint64_t bytes,
                   std::string_view advice = "nothing was written");

}  // namespace mu
