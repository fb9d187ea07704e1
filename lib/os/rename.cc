// SPDX-License-Identifier: Apache-2.0
#include "os/rename.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/text.h"

namespace mu {

bool rename_new(const std::string& from, const std::string& to) {
  return rename_new_at(AT_FDCWD, from, AT_FDCWD, to, to);
}

bool rename_new_at(int from_folder, const std::string& from, int to_folder, const std::string& to,
                   const std::string& path) {
  if (::renameat2(from_folder, from.c_str(), to_folder, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno == EEXIST || errno == ENOTEMPTY) return false;
  const auto failed = [&path] { return io_error("rename", errno, escape_name(path)); };
  if (errno != EINVAL && errno != ENOSYS) throw failed();
  struct stat status {};
  if (::fstatat(from_folder, from.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) throw failed();
  if (!S_ISDIR(status.st_mode)) {
    if (::linkat(from_folder, from.c_str(), to_folder, to.c_str(), 0) != 0) {
      if (errno == EEXIST) return false;
      throw failed();
    }
    ::unlinkat(from_folder, from.c_str(), 0);
    return true;
  }
  struct stat other {};
  if (::fstatat(to_folder, to.c_str(), &other, AT_SYMLINK_NOFOLLOW) == 0) return false;
  if (::renameat(from_folder, from.c_str(), to_folder, to.c_str()) != 0) throw failed();
  return true;
}

}  // namespace mu
