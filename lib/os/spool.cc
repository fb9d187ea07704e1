// SPDX-License-Identifier: Apache-2.0
#include "os/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "os/interrupt.h"

namespace mu {

Spool::Spool() {
  const char* const folder = std::getenv("TMPDIR");
  std::string path = std::string(folder != nullptr && *folder != '\0' ? folder : "/tmp") + "/mu-spool-XXXXXX";
  fd_ = Fd(::mkostemp(path.data(), O_CLOEXEC));
  if (fd_.get() < 0) throw io_error("make a temporary file", errno, path);
  ::unlink(path.c_str());
}

void Spool::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) {
      check_interrupt();
      continue;
    }
    if (put < 0) throw io_error("write a temporary file", errno).hint("set TMPDIR to a larger disk");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    size_ += static_cast<std::uint64_t>(put);
  }
}

void Spool::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) {
      check_interrupt();
      continue;
    }
    if (got <= 0) throw io_error("read a temporary file", got < 0 ? errno : EIO);
    out = out.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

InputFile Spool::finish(std::string name) {
  return InputFile::adopt(std::move(fd_), std::move(name));
}

InputFile spool_stream(int fd, std::string name) {
  Spool spool;
  std::vector<std::byte> piece(4U << 20);
  while (const std::size_t got = read_stream(fd, piece, name)) spool.append(std::span(piece).first(got));
  return spool.finish(std::move(name));
}

}  // namespace mu
