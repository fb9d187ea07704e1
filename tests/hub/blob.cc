// SPDX-License-Identifier: Apache-2.0
#include "blob.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "hash/sha256.h"

namespace hub {

namespace {

// A descriptor each would be too many for thousands of small objects; a giant that is only announced must
// cost nothing, and pages of a file come when they are written.
constexpr std::uint64_t kSmall = 1 << 20;

}  // namespace

Blob::Blob(std::uint64_t size, const std::string& folder, bool discard)
    : size_(size), discard_(discard), number_(++counter_) {
  if (discard) return;
  if (size <= kSmall) {
    bytes_.resize(size);
    return;
  }
  file_ = mu::Fd(folder.empty() ? ::memfd_create("object", MFD_CLOEXEC)
                                : ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file_.get() < 0 || ::ftruncate(file_.get(), static_cast<off_t>(size)) != 0) {
    throw mu::io_error("make an object's file", errno, folder);
  }
}

void Blob::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  if (discard_ || data.empty()) return;
  if (file_.get() < 0) {
    std::memcpy(bytes_.data() + offset, data.data(), data.size());
    return;
  }
  while (!data.empty()) {
    const ssize_t n = ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0) throw mu::io_error("write an object", errno);
    offset += static_cast<std::uint64_t>(n);
    data = data.subspan(static_cast<std::size_t>(n));
  }
}

void Blob::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  if (out.empty()) return;
  if (discard_) {
    std::memset(out.data(), 0, out.size());
    return;
  }
  if (file_.get() < 0) {
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return;
  }
  while (!out.empty()) {
    const ssize_t n = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (n <= 0) throw mu::io_error("read an object", n < 0 ? errno : EIO);
    offset += static_cast<std::uint64_t>(n);
    out = out.subspan(static_cast<std::size_t>(n));
  }
}

ssize_t Blob::send(int socket, std::uint64_t offset, std::size_t size) const {
  if (discard_) {
    static const std::vector<char> zeros(std::size_t{256} << 10);
    return ::send(socket, zeros.data(), std::min(size, zeros.size()), MSG_NOSIGNAL);
  }
  if (file_.get() < 0) return ::send(socket, bytes_.data() + offset, size, MSG_NOSIGNAL);
  off_t at = static_cast<off_t>(offset);
  return ::sendfile(socket, file_.get(), &at, size);
}

std::string Blob::text() const {
  std::string out(size_, '\0');
  read_at(0, std::as_writable_bytes(std::span(out)));
  return out;
}

std::string Blob::sha256() const {
  mu::Sha256 hash;
  std::vector<std::byte> buffer(std::min<std::uint64_t>(size_, 1 << 20));
  for (std::uint64_t offset = 0; offset < size_;) {
    const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size_ - offset));
    read_at(offset, std::span(buffer).first(n));
    hash.update(std::span(buffer).first(n));
    offset += n;
  }
  return mu::to_hex(hash.finish());
}

}  // namespace hub
