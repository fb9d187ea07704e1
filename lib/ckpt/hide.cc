// SPDX-License-Identifier: Apache-2.0
#include "ckpt/hide.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "ckpt/walk.h"
#include "os/folder.h"
#include "os/mounts.h"
#include "os/rename.h"
#include "os/stage_name.h"

namespace mu {
namespace {

constexpr int kMostNames = 1000;  // tried before giving up: nobody has that many copies of one name

bool is_judged(const Judged& judged, const struct stat& status) {
  const FileStamp stamp = stamp_of(status);
  return stamp.id == judged.id && (!judged.mtime_ns || stamp.mtime_ns == *judged.mtime_ns);
}

Error cannot_remove(int errno_value, const std::string& path) {
  const Error why = io_error("be removed", errno_value);
  return Error(ErrorKind::kPartial, why.message() + ": left as it is").in_file(escape_name(path));
}

// The properties of a folder that decide whether its entries may be removed.
struct Rules {
  bool is_sticky = false;
  bool is_ours = false;
};

void require_entry_removable(const Rules& folder, const struct statx& entry, const std::string& path) {
  constexpr std::uint64_t kFixed = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND;
  if ((entry.stx_attributes & kFixed) != 0) throw cannot_remove(EPERM, path);
  if (folder.is_sticky && !folder.is_ours && !may_act_as(entry.stx_uid)) throw cannot_remove(EPERM, path);
}

struct statx look_at(int folder, const std::string& name, const std::string& path) {
  struct statx entry {};
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name.empty() ? AT_EMPTY_PATH : 0);
  if (::statx(folder, name.c_str(), flags, STATX_TYPE | STATX_MODE | STATX_UID, &entry) != 0)
    throw io_error("look at", errno, escape_name(path));
  return entry;
}

Rules rules_of(const struct statx& folder) {
  return {(folder.stx_mode & S_ISVTX) != 0, may_act_as(folder.stx_uid)};
}

// Checks every entry below an open folder, each by the rules of the folder that holds it.
void require_content_removable(int folder, const struct statx& own, const std::string& path) {
  const Walk walk = walk_folder(folder, path);
  if (walk.has_mount) throw refused("something is mounted in it: left alone").in_file(escape_name(path));
  std::map<std::string, Rules, std::less<>> rules{{"", rules_of(own)}};
  if (!walk.entries.empty() && ::faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) != 0)
    throw cannot_remove(errno, path);
  for (const WalkedEntry& entry : walk.entries) {
    const std::string inner = join_path(path, entry.name);
    const struct statx seen = look_at(folder, entry.name, inner);
    if ((seen.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
      throw refused("something is mounted here: left alone").in_file(escape_name(inner));
    const std::size_t slash = entry.name.rfind('/');
    const std::string_view above =
        slash == std::string::npos ? std::string_view() : std::string_view(entry.name).substr(0, slash);
    const auto found = rules.find(above);
    if (found != rules.end()) require_entry_removable(found->second, seen, inner);
    if (entry.kind != WalkedEntry::Kind::kFolder) continue;
    rules[entry.name] = rules_of(seen);
    if (::faccessat(folder, entry.name.c_str(), W_OK | X_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) != 0)
      throw cannot_remove(errno, inner);
  }
}

}  // namespace

bool may_act_as(uid_t owner) {
  if (owner == ::geteuid()) return true;
  static const bool has_capability = [] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    return ::syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1U << CAP_FOWNER)) != 0;
  }();
  return has_capability;
}

std::string put_back(int from_folder, const std::string& from, int folder, const std::string& name,
                     const std::string& path) {
  if (rename_new_at(from_folder, from, folder, name, path)) return name;
  for (int number = 1; number < kMostNames; ++number) {
    const std::string kept = number == 1 ? "kept-" + name : fmt::format("kept-{}.{}", name, number);
    if (rename_new_at(from_folder, from, folder, kept, path)) return kept;
  }
  throw refused("too many entries of this name were put back before").in_file(escape_name(path));
}

void require_judged(const Judged& judged, int folder, const std::string& name, const std::string& path,
                    int to_folder, const std::string& to) {
  struct stat status {};
  const bool found = ::fstatat(to_folder, to.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (found && is_judged(judged, status)) return;
  if (!found && errno == ENOENT)
    throw Error(ErrorKind::kTemporary, "vanished while being removed").in_file(escape_name(path));
  const std::string place = put_back(to_folder, to, folder, name, path);
  if (place == name)
    throw Error(ErrorKind::kTemporary, "was changed or replaced at the last moment: put back")
        .in_file(escape_name(path));
  throw Error(ErrorKind::kPartial,
              fmt::format("was replaced twice in the meantime: one of the two is now {}", escape_name(place)))
      .in_file(escape_name(path));
}

std::string hide(const Judged& judged, int folder, const std::string& name, const std::string& path) {
  std::string hidden = stage_name(name, StageKind::kGone, judged.id);
  if (!rename_new_at(folder, name, folder, hidden, path))
    throw refused("the hidden name " + escape_name(hidden) + " is already taken").in_file(escape_name(path));
  require_judged(judged, folder, name, path, folder, hidden);
  return hidden;
}

void require_writable(int folder, const std::string& path) {
  if (::faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) != 0)
    throw io_error("write there", errno, escape_name(path)).hint("nothing was changed");
}

void require_removable(int folder, const std::string& name, const std::string& path) {
  const struct statx above = look_at(folder, "", parent_of(path)), own = look_at(folder, name, path);
  require_entry_removable(rules_of(above), own, path);
  if (!S_ISDIR(own.stx_mode)) {
    if ((own.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
      throw refused("something is mounted here: left alone").in_file(escape_name(path));
    return;
  }
  const Fd fd(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd.get() < 0) throw cannot_remove(errno, path);
  if (is_mount_root(fd.get()))
    throw refused("something is mounted here: left alone").in_file(escape_name(path));
  require_content_removable(fd.get(), own, path);
}

}  // namespace mu
