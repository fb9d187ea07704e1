// SPDX-License-Identifier: Apache-2.0
#include "os/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/mounts.h"

namespace mu {
namespace {

constexpr std::size_t kMostShown = 16;  // folders of a deep path that a message spells out

// Goes down into a tree and up again by "..", after checking that it is the folder it came from. Neither
// the stack nor the number of open files grows with the depth, and no path is put together on the way.
class Remover {
 public:
  Remover(int parent, const std::string& path, bool interruptible, std::uint64_t& removed)
      : parent_(parent), path_(path), interruptible_(interruptible), removed_(removed) {}

  void remove(const std::string& name) {
    if (!unlink_or_enter(parent_, name)) return;
    while (!levels_.empty()) {
      if (interruptible_) check_interrupt();
      Level& level = levels_.back();
      if (level.folders.empty()) {
        leave();
      } else {
        const std::string next = std::move(level.folders.back());
        level.folders.pop_back();
        unlink_or_enter(folder_.get(), next);
      }
    }
  }

 private:
  struct Level {
    std::string name;
    FileId id;
    std::vector<std::string> folders;  // in it, still to be removed
  };

  // The path of the entry `name` of the current folder.
  std::string path_of(const std::string& name) const {
    if (levels_.empty()) return escape_name(path_);
    std::string path = path_;
    if (levels_.size() > kMostShown) path += "/…";
    const std::size_t shown = std::min(levels_.size() - 1, kMostShown);
    for (std::size_t i = levels_.size() - shown; i < levels_.size(); ++i)
      path = join_path(path, levels_[i].name);
    return escape_name(join_path(path, name));
  }

  // Removes an entry that is not a folder; enters one that is, which becomes the current folder (true).
  bool unlink_or_enter(int parent, const std::string& name) {
    if (::unlinkat(parent, name.c_str(), 0) == 0) {
      ++removed_;
      return false;
    }
    if (errno == ENOENT) return false;
    if (errno != EISDIR && errno != EPERM) throw io_error("remove", errno, path_of(name));
    const int unlink_errno = errno;
    Fd folder(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (folder.get() < 0 || ::fstat(folder.get(), &status) != 0)
      throw io_error("remove", errno == ENOTDIR || errno == ELOOP ? unlink_errno : errno, path_of(name));
    if (is_mount_root(folder.get()))
      throw refused("something is mounted here: left alone").in_file(path_of(name));
    folder_ = std::move(folder);
    levels_.push_back({name, {status.st_dev, status.st_ino}, {}});
    empty_folder();
    return true;
  }

  // Removes everything in the current folder except folders, and notes those.
  void empty_folder() {
    const int own = ::fcntl(folder_.get(), F_DUPFD_CLOEXEC, 0);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(own < 0 ? nullptr : ::fdopendir(own), &::closedir);
    if (!stream) throw io_error("open", errno, path_of(""));
    errno = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (interruptible_) check_interrupt();
      if (entry->d_type == DT_DIR || !unlink_file(name)) levels_.back().folders.push_back(name);
      errno = 0;
    }
    if (errno != 0) throw io_error("read", errno, path_of(""));
  }

  // False for what may be a folder.
  bool unlink_file(const std::string& name) {
    if (::unlinkat(folder_.get(), name.c_str(), 0) == 0) {
      ++removed_;
    } else if (errno == EISDIR || errno == EPERM) {
      return false;
    } else if (errno != ENOENT) {
      throw io_error("remove", errno, path_of(name));
    }
    return true;
  }

  // Goes up again and removes the folder that it was in.
  void leave() {
    const std::string name = std::move(levels_.back().name);
    levels_.pop_back();
    int above = parent_;
    if (!levels_.empty()) {
      Fd up(::openat(folder_.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      struct stat status {};
      if (up.get() < 0 || ::fstat(up.get(), &status) != 0) throw io_error("open", errno, path_of(".."));
      if (FileId{status.st_dev, status.st_ino} != levels_.back().id)
        throw Error(ErrorKind::kTemporary, "was moved while it was removed").in_file(path_of(name));
      folder_ = std::move(up);
      above = folder_.get();
    }
    if (::unlinkat(above, name.c_str(), AT_REMOVEDIR) == 0)
      ++removed_;
    else if (errno != ENOENT)
      throw io_error("remove", errno, path_of(name));
  }

  int parent_;
  const std::string& path_;
  bool interruptible_;
  std::uint64_t& removed_;
  Fd folder_;  // the current one
  std::vector<Level> levels_;
};

}  // namespace

void remove_tree(const std::string& path) {
  remove_tree_at(AT_FDCWD, path, path);
}

void remove_tree_at(int parent, const std::string& name, const std::string& path) {
  std::uint64_t removed = 0;
  Remover(parent, path, false, removed).remove(name);
}

void remove_tree_interruptibly(const std::string& path) {
  std::uint64_t removed = 0;
  remove_tree_interruptibly_at(AT_FDCWD, path, path, removed);
}

void remove_tree_interruptibly_at(int parent, const std::string& name, const std::string& path,
                                  std::uint64_t& removed) {
  Remover(parent, path, true, removed).remove(name);
}

}  // namespace mu
