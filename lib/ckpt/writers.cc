// SPDX-License-Identifier: Apache-2.0
#include "ckpt/writers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "ckpt/walk.h"

namespace mu {
namespace {

// Kernel threads have no program, and often outnumber processes. A process of another user shows neither its
// program nor its files.
bool has_program(int proc, const std::string& process) {
  char first = 0;
  return ::readlinkat(proc, (process + "/exe").c_str(), &first, 1) > 0;
}

}  // namespace

std::map<FileId, std::string> find_open_files(const std::set<dev_t>& devices) {
  std::map<FileId, std::string> found;
  const Fd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (proc.get() < 0) return found;
  const std::string self = std::to_string(::getpid());
  for (const auto& [process, type] : list_at(proc.get(), "/proc")) {
    if (!is_digits(process) || process == self || !has_program(proc.get(), process)) continue;
    const Fd files(::openat(proc.get(), (process + "/fd").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (files.get() < 0) continue;  // it has ended, or we may not look
    try {
      for (const auto& [number, link_type] : list_at(files.get(), "/proc")) {
        // The permissions of the link show how the file was opened; following it reaches the file itself,
        // whatever its path.
        struct stat link {
        }, file{};
        if (::fstatat(files.get(), number.c_str(), &link, AT_SYMLINK_NOFOLLOW) != 0 ||
            (link.st_mode & S_IWUSR) == 0 || ::fstatat(files.get(), number.c_str(), &file, 0) != 0)
          continue;
        if (S_ISREG(file.st_mode) && devices.contains(file.st_dev))
          found.emplace(FileId{file.st_dev, file.st_ino}, process);
      }
    } catch (const Error&) {
      continue;  // it has ended in the meantime
    }
  }
  return found;
}

}  // namespace mu
