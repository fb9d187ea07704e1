// SPDX-License-Identifier: Apache-2.0
#include "os/replace_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "os/mounts.h"
#include "os/rename.h"

namespace mu {
namespace {

constexpr int kMaxDepth = 32;          // of folders in folders; the walk recurses
constexpr int kMostLooks = 16;         // then a folder that somebody keeps writing into is left alone
constexpr int kMostFaults = 3;         // failed looks, likewise
constexpr std::size_t kMostNamed = 5;  // paths in a message

// Without the time of change of the inode, which linking and renaming alter, too.
FileStamp lasting(const struct stat& status) {
  FileStamp stamp = stamp_of(status);
  stamp.ctime_ns = 0;
  // What a folder holds is judged entry by entry.
  if (S_ISDIR(status.st_mode)) stamp.size = 0, stamp.mtime_ns = 0;
  return stamp;
}

class Retirement {
 public:
  Retirement(const std::string& target, const Inventory& planned, const std::set<std::string>& ours)
      : target_(target), planned_(planned), ours_(ours) {}

  std::vector<std::string> stays;  // relative paths
  std::optional<Error> fault;      // the first

  void empty(const std::string& folder, const std::string& prefix) {
    for (const FolderEntry& entry : list_folder(folder)) {
      const std::string path = join_path(folder, entry.name), inner = prefix + entry.name;
      try {
        const std::optional<struct stat> status = find_status(path, false);
        if (!status) continue;
        if (S_ISDIR(status->st_mode))
          empty_subfolder(path, inner, *status);
        else
          remove_file(path, inner, *status);
      } catch (const Error& error) {
        stays.push_back(inner);
        if (!fault) fault = error;
      }
    }
  }

 private:
  [[nodiscard]] bool may_go(const std::string& inner, const struct stat& status) const {
    return ours_.contains(inner.substr(0, inner.find('/'))) && planned_.holds(inner, status);
  }

  void empty_subfolder(const std::string& path, const std::string& inner, const struct stat& status) {
    const Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (folder.get() >= 0 && is_mount_root(folder.get())) throw refused("something is mounted here");
    const bool merges = is_folder(join_path(target_, inner));
    if (!merges && !may_go(inner, status)) return move_over(path, inner);
    empty(path, inner + "/");
    // If it is not empty by now, it holds what stays, or the next look finds the rest.
    if (::rmdir(path.c_str()) != 0 && errno != ENOTEMPTY && errno != EEXIST && errno != ENOENT)
      throw io_error("remove", errno, escape_name(path));
  }

  void remove_file(const std::string& path, const std::string& inner, const struct stat& status) {
    const std::optional<struct stat> ours = find_status(join_path(target_, inner), false);
    const bool same = ours && stamp_of(*ours).id == stamp_of(status).id;
    if (!same && !may_go(inner, status)) return move_over(path, inner);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw io_error("remove", errno, escape_name(path));
  }

  void move_over(const std::string& path, const std::string& inner) {
    const std::size_t slash = inner.rfind('/');
    if (slash != std::string::npos) make_folders(join_path(target_, inner.substr(0, slash)));
    if (!rename_new(path, join_path(target_, inner))) stays.push_back(inner);
  }

  const std::string& target_;
  const Inventory& planned_;
  const std::set<std::string>& ours_;
};

std::string show(const std::string& old, const std::string& visible) {
  for (int number = 1; number < 1000; ++number) {
    const std::string name = number == 1 ? visible : fmt::format("{}.{}", visible, number);
    if (rename_new(old, name)) return name;
  }
  return old;
}

[[noreturn]] void leave_visible(const std::string& old, const std::string& target, const Retirement& rest,
                                const std::string& visible) {
  std::string place = old;
  try {
    place = show(old, visible);
  } catch (const Error&) {  // then the message names it where it is
  }
  std::vector<std::string> names;
  for (const std::string& name : rest.stays) {
    if (names.size() < kMostNamed) names.push_back(escape_name(name));
  }
  if (names.size() < rest.stays.size())
    names.push_back(fmt::format("{} more", rest.stays.size() - names.size()));
  const std::string which = names.empty() ? "" : ": " + join(names, ", ");
  const std::string why =
      rest.fault ? rest.fault->message() : "written meanwhile under names that were replaced";
  throw Error(ErrorKind::kPartial,
              fmt::format("is what is left of the old {}{} ({})", escape_name(base_name(target)), which, why))
      .in_file(escape_name(place))
      .hint("the new one is in place; look at this one and remove it");
}

}  // namespace

Inventory::Inventory(const std::string& folder) {
  add(folder, "", 0);
}

void Inventory::add(const std::string& folder, const std::string& prefix, int depth) {
  if (depth > kMaxDepth) throw malformed("folders are nested too deeply").in_file(escape_name(folder));
  for (const FolderEntry& entry : list_folder(folder)) {
    const std::string path = join_path(folder, entry.name);
    const std::optional<struct stat> status = find_status(path, false);
    if (!status) continue;
    entries_[prefix + entry.name] = lasting(*status);
    if (S_ISDIR(status->st_mode)) add(path, prefix + entry.name + "/", depth + 1);
  }
}

bool Inventory::holds(const std::string& path, const struct stat& status) const {
  const auto found = entries_.find(path);
  return found != entries_.end() && found->second == lasting(status);
}

void retire_folder(const std::string& old, const std::string& target, const Inventory& planned,
                   const std::set<std::string>& ours, const std::string& visible) {
  for (int look = 1;; ++look) {
    Retirement rest(target, planned, ours);
    try {
      rest.empty(old, "");
      if (rest.stays.empty() && ::rmdir(old.c_str()) == 0) return;
      if (rest.stays.empty() && errno != ENOTEMPTY && errno != EEXIST)
        throw io_error("remove", errno, escape_name(old));
    } catch (const Error& error) {
      if (!rest.fault) rest.fault = error;
    }
    const bool is_stuck = rest.fault ? look >= kMostFaults : !rest.stays.empty() || look == kMostLooks;
    if (is_stuck) leave_visible(old, target, rest, visible);
  }
}

}  // namespace mu
