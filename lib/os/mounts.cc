// SPDX-License-Identifier: Apache-2.0
#include "os/mounts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>

#include "os/file.h"

namespace mu {
namespace {

// Where an open file lies: the number of its mount in this process's view; nothing without /proc.
std::optional<std::uint64_t> mount_number(int fd) {
  const Fd info(::open(fmt::format("/proc/self/fdinfo/{}", fd).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 512> text{};
  const ssize_t size = info.get() < 0 ? -1 : ::read(info.get(), text.data(), text.size());
  if (size <= 0) return std::nullopt;
  const std::string_view all(text.data(), static_cast<std::size_t>(size));
  constexpr std::string_view kKey = "mnt_id:";
  std::size_t at = all.find(kKey);
  if (at == std::string_view::npos) return std::nullopt;
  at = all.find_first_not_of(" \t", at + kKey.size());
  std::uint64_t number = 0;
  if (at == std::string_view::npos ||
      std::from_chars(all.data() + at, all.data() + all.size(), number).ec != std::errc())
    return std::nullopt;
  return number;
}

bool is_other_mount(int folder, int inner) {
  const std::optional<std::uint64_t> outside = mount_number(folder), inside = mount_number(inner);
  return outside && inside && *outside != *inside;
}

std::optional<EntryStatus> entry_by_number(int folder, const std::string& name) {
  EntryStatus entry;
  if (::fstatat(folder, name.c_str(), &entry.status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  const Fd fd(::openat(folder, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  entry.is_mount = fd.get() >= 0 && is_other_mount(folder, fd.get());
  return entry;
}

struct stat stat_of(const struct statx& found) {
  struct stat status {};
  const auto time_of = [](const struct statx_timestamp& time) {
    return timespec{time.tv_sec, static_cast<long>(time.tv_nsec)};
  };
  status.st_dev = makedev(found.stx_dev_major, found.stx_dev_minor);
  status.st_ino = found.stx_ino;
  status.st_mode = found.stx_mode;
  status.st_nlink = found.stx_nlink;
  status.st_uid = found.stx_uid;
  status.st_gid = found.stx_gid;
  status.st_size = static_cast<off_t>(found.stx_size);
  status.st_blocks = static_cast<blkcnt_t>(found.stx_blocks);
  status.st_mtim = time_of(found.stx_mtime);
  status.st_ctim = time_of(found.stx_ctime);
  return status;
}

}  // namespace

bool is_mount_root(int fd, MountLook look) {
  struct statx found {};
  if (look == MountLook::kByMark && ::statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &found) == 0 &&
      (found.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0)
    return (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  const Fd above(::openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
  return above.get() >= 0 && is_other_mount(above.get(), fd);
}

bool is_mount_point(const std::string& path) {
  const Fd folder(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return folder.get() >= 0 && is_mount_root(folder.get());
}

std::optional<EntryStatus> find_entry_status(int folder, const std::string& name, MountLook look) {
  if (look == MountLook::kByNumber) return entry_by_number(folder, name);
  struct statx found {};
  if (::statx(folder, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &found) != 0)
    return errno == ENOSYS || errno == EPERM ? entry_by_number(folder, name) : std::nullopt;
  if ((found.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0) return entry_by_number(folder, name);
  return EntryStatus{stat_of(found), (found.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0};
}

}  // namespace mu
