// SPDX-License-Identifier: Apache-2.0
#include "os/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "os/far.h"
#include "os/file.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr std::size_t kMaxEntries = 1'000'000;  // bounds the memory of a list

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using FolderStream = std::unique_ptr<DIR, CloseFolder>;

bool is_dots(const char* name) {
  return std::string_view(name) == "." || std::string_view(name) == "..";
}

void make_folders_of(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return;
  if (errno != ENOENT || parent_of(path) == path) throw io_error("make the folder", errno, escape_name(path));
  make_folders_of(parent_of(path), mode);
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    throw io_error("make the folder", errno, escape_name(path));
}

// Whether error `code` means that nothing is there: no such name, or a link that leads nowhere.
bool is_absence(int code) {
  return code == ENOENT || code == ENOTDIR || code == ELOOP || code == ENAMETOOLONG;
}

// The entries of a folder on another machine.
std::vector<FolderEntry> list_far(const FarPlace& place) {
  const std::string prefix = place.below.empty() ? "" : place.below + "/";
  std::vector<FolderEntry> entries;
  for (auto at = place.folder->lower_bound(prefix);
       at != place.folder->end() && at->first.starts_with(prefix); ++at) {
    const std::string_view rest = std::string_view(at->first).substr(prefix.size());
    const std::string name(rest.substr(0, rest.find('/')));
    const bool folder = name.size() < rest.size();
    if (!name.empty() && (entries.empty() || entries.back().name != name))
      entries.push_back({name,
                         folder ? FolderEntry::Kind::kFolder : FolderEntry::Kind::kFile,
                         false,
                         {{}, folder ? 0 : at->second.size, 0, 0}});
  }
  return entries;
}

}  // namespace

std::vector<FolderEntry> list_folder(const std::string& path) {
  if (const std::optional<FarPlace> place = find_far(path)) {
    std::vector<FolderEntry> entries = list_far(*place);
    if (entries.empty()) throw io_error("open", ENOENT, escape_name(path));
    std::sort(entries.begin(), entries.end(),
              [](const FolderEntry& a, const FolderEntry& b) { return a.name < b.name; });
    return entries;
  }
  require_near(path);
  const FolderStream folder(::opendir(path.c_str()));
  if (!folder) throw io_error("open", errno, escape_name(path));
  std::vector<FolderEntry> entries;
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (is_dots(entry->d_name)) continue;
    check_interrupt();
    if (entries.size() == kMaxEntries) {
      throw malformed(fmt::format("holds more than {} entries", kMaxEntries)).in_file(escape_name(path));
    }
    struct stat status {};
    const bool found = ::fstatat(::dirfd(folder.get()), entry->d_name, &status, 0) == 0;
    if (!found && !is_absence(errno))
      throw io_error("look at", errno, escape_name(join_path(path, entry->d_name)));
    const FolderEntry::Kind kind = !found                    ? FolderEntry::Kind::kOther
                                   : S_ISREG(status.st_mode) ? FolderEntry::Kind::kFile
                                   : S_ISDIR(status.st_mode) ? FolderEntry::Kind::kFolder
                                                             : FolderEntry::Kind::kOther;
    entries.push_back({entry->d_name, kind, entry->d_type == DT_LNK, found ? stamp_of(status) : FileStamp()});
    errno = 0;
  }
  if (errno != 0) throw io_error("read", errno, escape_name(path));
  std::sort(entries.begin(), entries.end(),
            [](const FolderEntry& a, const FolderEntry& b) { return a.name < b.name; });
  return entries;
}

std::optional<struct stat> find_status(const std::string& path, bool follow) {
  struct stat status {};
  if ((follow ? ::stat : ::lstat)(path.c_str(), &status) == 0) return status;
  if (!is_absence(errno)) throw io_error("look at", errno, escape_name(path));
  return std::nullopt;
}

bool exists(const std::string& path) {
  if (const std::optional<FarPlace> place = find_far(path))
    return place->folder->contains(place->below) || !list_far(*place).empty();
  return find_status(path).has_value();
}

bool is_folder(const std::string& path) {
  if (const std::optional<FarPlace> place = find_far(path)) return !list_far(*place).empty();
  const std::optional<struct stat> status = find_status(path);
  return status && S_ISDIR(status->st_mode);
}

bool is_in_reach(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string join_path(std::string_view folder, std::string_view name) {
  std::string path(folder);
  if (!path.empty() && path.back() != '/') path += '/';
  return path.append(name);
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

std::string parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<std::size_t>(slash, 1)));
}

std::string tidy_path(const std::string& path) {
  std::string tidy = path;
  while (tidy.size() > 1 && tidy.back() == '/') tidy.pop_back();
  const std::string_view last = base_name(tidy);
  if (last != "." && last != "..") return tidy;
  return resolved_path(tidy);
}

std::string resolved_path(const std::string& path) {
  if (std::optional<std::string> real = find_real_path(path)) return *std::move(real);
  throw io_error("find", ENOENT, escape_name(path));
}

// The kernel is asked first: it knows where an open folder lies, while realpath() looks up each part of the
// path, which another user's folder above the current one does not allow.
std::optional<std::string> find_real_path(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (fd.get() >= 0) {
    std::array<char, PATH_MAX> text{};
    const ssize_t size =
        ::readlink(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), text.data(), text.size());
    const bool is_whole = size > 0 && static_cast<std::size_t>(size) < text.size() && text[0] == '/';
    if (is_whole) return std::string(text.data(), static_cast<std::size_t>(size));
  }
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (real) return real.get();
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  throw io_error("find", errno, escape_name(path));
}

void make_folders(const std::string& path) {
  make_folders_of(path, 0777);
}

void make_private_folder(const std::string& path) {
  make_folders_of(path, 0700);
}

void sync_folder(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) throw io_error("open", errno, escape_name(path));
  // Some network file systems can't sync a folder and say so.
  if (::fsync(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF) {
    throw io_error("write to the disk", errno, escape_name(path));
  }
}

void require_space(const std::string& path, std::uint64_t bytes, std::string_view advice) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) throw io_error("find the free space", errno, escape_name(path));
  const std::uint64_t free = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  if (bytes <= free) return;
  throw Error(ErrorKind::kIo, fmt::format("needs {}, but {} are free", format_size(bytes), format_size(free)))
      .in_file(escape_name(path))
      .hint(advice);
}

}  // namespace mu
