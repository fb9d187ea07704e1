// SPDX-License-Identifier: Apache-2.0
// Reading and writing by position: pread and pwrite in loops, because both may do less than they were asked,
// are interrupted by signals, and report an error late. Every failure becomes an Error that names the file
// and says what was wanted.
//
// A set of weights may have more files than a process may open. park() closes a descriptor and ParkedFiles
// opens it again for a read, keeping those that were used last; a stamp (device, inode, size, times) shows
// whether the name still leads to the same file. Files on other machines (far.h) have no descriptor:
// read_at() calls their reader.
#include "os/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <list>
#include <map>
#include <mutex>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "os/far.h"
#include "os/interrupt.h"

namespace mu {

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int Fd::release() {
  return std::exchange(fd_, -1);
}

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

namespace {

// Open descriptors of the parked files that were used last. One that is dropped during a read is closed after
// it.
class ParkedFiles {
 public:
  std::shared_ptr<const Fd> open(const InputFile& file) {
    const std::scoped_lock lock(mutex_);
    const auto found = index_.find(file.id());
    if (found != index_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return order_.front().second;
    }
    const InputFile again(file.path());
    if (again.id() != file.id() || again.size() != file.size())
      throw Error(ErrorKind::kIo, "was replaced while it was read").in_file(escape_name(file.path()));
    order_.emplace_front(file.id(), again.fd());
    index_[file.id()] = order_.begin();
    if (order_.size() > InputFile::kOpenParked) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return order_.front().second;
  }

 private:
  using Order = std::list<std::pair<FileId, std::shared_ptr<const Fd>>>;
  std::mutex mutex_;
  Order order_;  // used last first
  std::map<FileId, Order::iterator> index_;
};

ParkedFiles& parked_files() {
  static ParkedFiles files;
  return files;
}

bool is_far_folder(const FarPlace& place) {
  const std::string below = place.below.empty() ? "" : place.below + "/";
  const auto first = place.folder->lower_bound(below);
  return first != place.folder->end() && first->first.starts_with(below);
}

}  // namespace

FileStamp stamp_of(const struct stat& status) {
  const auto nanoseconds = [](const timespec& time) {
    // A time beyond 2262 does not fit; a clock that shows it is wrong anyway.
    std::int64_t out = 0;
    if (__builtin_mul_overflow(static_cast<std::int64_t>(time.tv_sec), std::int64_t{1'000'000'000}, &out))
      return time.tv_sec < 0 ? INT64_MIN / 2 : INT64_MAX / 2;
    return out + time.tv_nsec;
  };
  return {{status.st_dev, status.st_ino},
          static_cast<std::uint64_t>(status.st_size),
          nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

FileStamp stamp_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw io_error("look at", errno, escape_name(path));
  return stamp_of(status);
}

FileStamp InputFile::stamp() const {
  if (far_ != nullptr) return {id_, size_, 0, 0};
  struct stat status {};
  if (::fstat(fd()->get(), &status) != 0) throw io_error("look at", errno, escape_name(path_));
  return stamp_of(status);
}

InputFile::InputFile(std::string path) {
  if (!find_far(path)) {
    require_near(path);
    *this = InputFile(Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), path);
    return;
  }
  const FarFile* const far = far_file(path);
  if (far == nullptr && is_far_folder(*find_far(path)))
    throw Error(ErrorKind::kIo, "is a folder").in_file(escape_name(path));
  if (far == nullptr) throw io_error("open", ENOENT, escape_name(path));
  if (far->refuse) far->refuse();
  if (!far->local.empty()) {
    *this = InputFile(Fd(::open(far->local.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), path);
    return;
  }
  far_ = far;
  path_ = std::move(path);
  size_ = far_->size;
  id_ = {0, static_cast<ino_t>(reinterpret_cast<std::uintptr_t>(far_))};
  mode_ = 0444;
}

InputFile InputFile::adopt(Fd fd, std::string name) {
  return {std::move(fd), std::move(name)};
}

InputFile::InputFile(Fd fd, std::string path)
    : fd_(std::make_shared<const Fd>(std::move(fd))), path_(std::move(path)) {
  struct stat status {};
  if (fd_->get() < 0 || ::fstat(fd_->get(), &status) != 0) throw io_error("open", errno, escape_name(path_));
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kIo, S_ISDIR(status.st_mode) ? "is a folder" : "is not a regular file")
        .in_file(escape_name(path_));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  id_ = {status.st_dev, status.st_ino};
  mode_ = status.st_mode & 07777;
}

void InputFile::park() {
  fd_.reset();
}

std::shared_ptr<const Fd> InputFile::fd() const {
  if (far_ != nullptr)
    throw malformed("is compressed or of an old kind, so it can't be read by ranges")
        .in_file(escape_name(path_))
        .hint("download it, then name the copy");
  return fd_ ? fd_ : parked_files().open(*this);
}

std::string InputFile::read_start(std::uint64_t limit) const {
  constexpr std::uint64_t kFarStart = 4096;  // bytes, of a file whose kind is not known yet
  if (far_ != nullptr && !far_->start.empty()) return std::string(far_->start.substr(0, limit));
  if (far_ != nullptr) limit = std::min(limit, kFarStart);
  std::string start(static_cast<std::size_t>(std::min(size_, limit)), '\0');
  read_at(0, std::as_writable_bytes(std::span(start)));
  return start;
}

void InputFile::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  if (far_ != nullptr) {
    if (offset > size_ || out.size() > size_ - offset)
      throw Error(ErrorKind::kIo, fmt::format("ends at byte {} where more was expected", size_))
          .in_file(escape_name(path_));
    return read_far(*far_, offset, out);
  }
  const std::shared_ptr<const Fd> fd = this->fd();
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd->get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) {
      check_interrupt();
    } else if (got < 0) {
      throw io_error("read", errno, escape_name(path_));
    } else if (got == 0) {
      throw Error(
          ErrorKind::kIo,
          fmt::format("ends at byte {} where more was expected: it changed while it was read", offset + done))
          .in_file(escape_name(path_));
    } else {
      done += static_cast<std::size_t>(got);
    }
  }
}

void OutputFile::write_at(std::uint64_t offset, std::span<const std::byte> data) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t put =
        ::pwrite(fd_.get(), data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) {
      check_interrupt();
    } else if (put < 0) {
      throw io_error("write", errno, escape_name(path_));
    } else {
      done += static_cast<std::size_t>(put);
    }
  }
}

void OutputFile::sync() {
  while (::fsync(fd_.get()) != 0) {
    if (errno != EINTR) throw io_error("write to the disk", errno, escape_name(path_));
    check_interrupt();
  }
}

std::string read_whole_file(const std::string& path, std::uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit) {
    throw malformed(fmt::format("has {} bytes; at most {} are read of such a file", file.size(), limit))
        .in_file(escape_name(path));
  }
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::string read_whole_stream(int fd, std::uint64_t limit, std::string_view name) {
  constexpr std::size_t kStep = 64U << 10;
  std::string text;
  while (true) {
    const std::size_t have = text.size();
    text.resize(have + kStep);
    wait_readable(fd);
    const ssize_t got = ::read(fd, text.data() + have, kStep);
    if (got < 0 && errno != EINTR) throw io_error("read", errno, name);
    text.resize(have + static_cast<std::size_t>(got > 0 ? got : 0));
    if (got == 0) return text;
    if (text.size() > limit) throw malformed(fmt::format("more than {} bytes", limit)).in_file(name);
  }
}

std::size_t read_stream(int fd, std::span<std::byte> out, std::string_view name) {
  std::size_t done = 0;
  while (done < out.size()) {
    wait_readable(fd);
    const ssize_t got = ::read(fd, out.data() + done, out.size() - done);
    if (got < 0 && errno == EINTR) {
      check_interrupt();
      continue;
    }
    if (got < 0) throw io_error("read", errno, name);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void write_stream(int fd, std::string_view data, std::string_view name) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0 && errno == EINTR) {
      check_interrupt();
    } else if (put < 0 && errno == EPIPE) {
      throw BrokenPipe{};
    } else if (put < 0) {
      throw io_error("write", errno, name);
    } else {
      data.remove_prefix(static_cast<std::size_t>(put));
    }
  }
}

}  // namespace mu
