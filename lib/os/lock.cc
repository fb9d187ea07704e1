// SPDX-License-Identifier: Apache-2.0
#include "os/lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "base/error.h"
#include "base/text.h"

namespace mu {

FileLock::FileLock(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (fd_.get() < 0) throw io_error("open", errno, escape_name(path));
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK)
    throw Error(ErrorKind::kTemporary, "another run holds the lock").in_file(escape_name(path));
  throw io_error("lock", errno, escape_name(path));
}

}  // namespace mu
