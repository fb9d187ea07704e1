// SPDX-License-Identifier: Apache-2.0
// Recognises mount points, also those of the same file system, on folders and on single files: what lies there
// belongs to somebody else.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>

namespace mu {

// How to find out: by the kernel's own mark (Linux 5.8 and later), or, where that is missing or a sandbox hides
// it, by the numbers of mounts in /proc/self/fdinfo.
enum class MountLook : std::uint8_t { kByMark, kByNumber };

// True where an open folder is the root of a mount. False when neither way tells.
bool is_mount_root(int fd, MountLook look = MountLook::kByMark);

// The same for what a path leads to; false where that is not a folder.
bool is_mount_point(const std::string& path);

struct EntryStatus {
  struct stat status {};
  bool is_mount = false;
};

// The status of an entry of an open folder, links not followed, and whether something is mounted on
// it. Nothing, with errno set, when it can't be looked at.
std::optional<EntryStatus> find_entry_status(int folder, const std::string& name,
                                             MountLook look = MountLook::kByMark);

}  // namespace mu
