// SPDX-License-Identifier: Apache-2.0
#include "ckpt/trash.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/text.h"
#include "ckpt/hide.h"
#include "ckpt/walk.h"
#include "os/copy.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/mounts.h"
#include "os/remove_tree.h"
#include "os/stage.h"
#include "os/stage_name.h"

namespace mu {
namespace {

constexpr unsigned kMostTries = 10'000;  // names tried: each entry of that name in the trash takes one
constexpr int kMaxDepth = 40;            // a judged checkpoint has at most 32 levels (walk.cc)

std::string real_name(const std::string& run_path) {
  const std::string real = resolved_path(run_path);
  const std::string_view name = base_name(real);
  return name.empty() ? "root" : std::string(name);
}

void keep_times(int fd, const struct stat& status, const std::string& path) {
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (::futimens(fd, times) != 0) throw io_error("set the time", errno, escape_name(path));
}

void copy_entry(int from, const std::string& name, int to, const std::string& target, const std::string& path,
                const std::string& target_path, int depth);

void copy_regular(int from, const std::string& name, int to, const std::string& target,
                  const struct stat& status, const std::string& path, const std::string& target_path) {
  const InputFile in =
      InputFile::adopt(Fd(::openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)), path);
  Fd fd(::openat(to, target.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, status.st_mode & 0777));
  if (fd.get() < 0) throw io_error("write", errno, escape_name(target_path));
  OutputFile out(std::move(fd), target_path);
  copy_file(in, out, {});
  keep_times(out.fd(), status, target_path);
  out.sync();
}

void copy_folder(int from, const std::string& name, int to, const std::string& target,
                 const struct stat& status, const std::string& path, const std::string& target_path,
                 int depth) {
  if (depth > kMaxDepth) throw refused("folders are nested too deeply").in_file(escape_name(path));
  const Fd in(::openat(from, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (in.get() < 0) throw io_error("open", errno, escape_name(path));
  if (is_mount_root(in.get()))
    throw refused("something is mounted here: left alone").in_file(escape_name(path));
  if (::mkdirat(to, target.c_str(), 0777) != 0)
    throw io_error("make the folder", errno, escape_name(target_path));
  const Fd out(::openat(to, target.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (out.get() < 0) throw io_error("open", errno, escape_name(target_path));
  for (const auto& [inner, type] : list_at(in.get(), path))
    copy_entry(in.get(), inner, out.get(), inner, join_path(path, inner), join_path(target_path, inner),
               depth + 1);
  keep_times(out.get(), status, target_path);
  ::fsync(out.get());
}

void copy_entry(int from, const std::string& name, int to, const std::string& target, const std::string& path,
                const std::string& target_path, int depth) {
  check_interrupt();
  struct stat status {};
  if (::fstatat(from, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    throw io_error("look at", errno, escape_name(path));
  if (S_ISDIR(status.st_mode)) return copy_folder(from, name, to, target, status, path, target_path, depth);
  if (S_ISREG(status.st_mode)) return copy_regular(from, name, to, target, status, path, target_path);
  if (!S_ISLNK(status.st_mode))
    throw refused("is not a file, folder or link: left alone").in_file(escape_name(path));
  std::array<char, 4096> link{};
  const ssize_t size = ::readlinkat(from, name.c_str(), link.data(), link.size() - 1);
  if (size < 0 || ::symlinkat(link.data(), to, target.c_str()) != 0)
    throw io_error("copy the link", errno, escape_name(path));
}

// Renames into the trash under the first free name, which it returns. Returns an empty string, with errno
// set, on failure.
std::string rename_to_free_name(int from, const std::string& name, const TrashFolder& trash,
                                const std::string& wanted) {
  for (unsigned number = 1; number < kMostTries; ++number) {
    const std::string target = number == 1 ? wanted : fmt::format("{}.{}", wanted, number);
    if (::renameat2(from, name.c_str(), trash.fd(), target.c_str(), RENAME_NOREPLACE) == 0) return target;
    if (errno == EINVAL || errno == ENOSYS) {
      if (::faccessat(trash.fd(), target.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) continue;
      return ::renameat(from, name.c_str(), trash.fd(), target.c_str()) == 0 ? target : "";
    }
    if (errno != EEXIST) return "";
  }
  errno = EEXIST;
  return "";
}

}  // namespace

TrashFolder::TrashFolder(const std::string& trash, const std::string& run_path)
    : path_(join_path(trash, real_name(run_path))) {
  for (const std::string& folder : {trash, path_}) {
    if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
      throw io_error("make the folder", errno, escape_name(folder));
  }
  fd_ = Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd_.get() < 0) throw io_error("open", errno, escape_name(path_));
  clean_stale_stages(path_);
}

TrashPlace place_of_trash(const std::string& trash, const std::string& run_path) {
  namespace fs = std::filesystem;
  std::error_code unknown;
  const fs::path real = fs::weakly_canonical(fs::absolute(trash, unknown), unknown);
  const fs::path below = real.lexically_relative(fs::canonical(run_path, unknown));
  TrashPlace place;
  if (!below.empty() && *below.begin() != "..") place.first_below_run = below.begin()->string();
  fs::path existing = real;
  struct stat status {};
  while (::stat(existing.c_str(), &status) != 0 && existing.has_relative_path())
    existing = existing.parent_path();
  place.device = status.st_dev;
  return place;
}

std::string move_to_trash(int folder, const std::string& name, const std::string& path, const Judged& judged,
                          const TrashFolder& trash, const std::string& wanted) {
  std::string target = rename_to_free_name(folder, name, trash, wanted);
  if (!target.empty()) {
    require_judged(judged, folder, name, path, trash.fd(), target);
    return target;
  }
  if (errno != EXDEV) throw io_error("move to the trash", errno, escape_name(path));
  const std::string stage = stage_name(wanted, StageKind::kStage);
  const std::string stage_path = join_path(trash.path(), stage);
  try {
    copy_entry(folder, name, trash.fd(), stage, path, stage_path, 0);
    target = rename_to_free_name(trash.fd(), stage, trash, wanted);
    if (target.empty()) throw io_error("rename", errno, escape_name(stage_path));
    if (::fsync(trash.fd()) != 0) throw io_error("write to the disk", errno, escape_name(trash.path()));
  } catch (...) {
    remove_tree_at(trash.fd(), stage, stage_path);
    throw;
  }
  // The copy is complete; the original disappears in one step, too.
  const std::string hidden = hide(judged, folder, name, path);
  std::uint64_t removed = 0;
  remove_tree_interruptibly_at(folder, hidden, join_path(parent_of(path), hidden), removed);
  return target;
}

}  // namespace mu
