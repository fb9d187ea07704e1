// SPDX-License-Identifier: Apache-2.0
#include "ckpt/walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/mounts.h"

namespace mu {
namespace {

constexpr std::size_t kMaxEntries = 1'000'000;  // bounds memory: an entry takes some 200 bytes with its name
constexpr int kMaxDepth = 32;                   // bounds recursion and open descriptors: each level holds one

WalkedEntry::Kind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return WalkedEntry::Kind::kFile;
  if (S_ISDIR(mode)) return WalkedEntry::Kind::kFolder;
  return S_ISLNK(mode) ? WalkedEntry::Kind::kLink : WalkedEntry::Kind::kOther;
}

void walk_into(int folder, const std::string& prefix, const std::string& path, int depth, Walk& walk) {
  if (depth > kMaxDepth) throw malformed("folders are nested too deeply").in_file(escape_name(path));
  struct stat own {};
  if (::fstat(folder, &own) != 0) throw io_error("look at", errno, escape_name(path));
  for (const auto& [name, type] : list_at(folder, path)) {
    check_interrupt();
    if (walk.entries.size() == kMaxEntries)
      throw malformed("holds more than a million entries").in_file(escape_name(path));
    const std::optional<EntryStatus> found = find_entry_status(folder, name);
    if (!found) {
      if (errno != ENOENT) throw io_error("look at", errno, escape_name(join_path(path, name)));
      walk.is_changing = true;
      continue;
    }
    const struct stat& status = found->status;
    walk.has_mount = walk.has_mount || found->is_mount;
    const WalkedEntry::Kind kind = kind_of(status.st_mode);
    walk.entries.push_back({prefix + name, kind, stamp_of(status), static_cast<std::uint64_t>(status.st_size),
                            disk_bytes_of(status), static_cast<std::uint64_t>(status.st_nlink)});
    if (kind != WalkedEntry::Kind::kFolder) continue;
    const std::string inner = join_path(path, name);
    const Fd fd(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.get() < 0) {
      if (errno != ENOENT) throw io_error("open", errno, escape_name(inner));
      walk.is_changing = true;
    } else if (found->is_mount || status.st_dev != own.st_dev || is_mount_root(fd.get())) {
      walk.has_mount = true;
    } else {
      walk_into(fd.get(), prefix + name + "/", inner, depth + 1, walk);
    }
  }
}

}  // namespace

std::uint64_t disk_bytes_of(const struct stat& status) {
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

Fd open_folder_at(int parent, const std::string& name) {
  return Fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

const WalkedEntry* Walk::find(std::string_view name) const {
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [name](const WalkedEntry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

Walk walk_folder(int folder, const std::string& path) {
  Walk walk;
  walk_into(folder, "", path, 0, walk);
  return walk;
}

std::vector<std::pair<std::string, unsigned char>> list_at(int folder, const std::string& path) {
  // A duplicate shares its position with the caller's descriptor, but nobody else uses that.
  const int own = ::fcntl(folder, F_DUPFD_CLOEXEC, 0);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(own < 0 ? nullptr : ::fdopendir(own), &::closedir);
  if (!stream) throw io_error("open", errno, escape_name(path));
  ::rewinddir(stream.get());
  std::vector<std::pair<std::string, unsigned char>> entries;
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") entries.emplace_back(name, entry->d_type);
  }
  if (errno != 0) throw io_error("read", errno, escape_name(path));
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace mu
