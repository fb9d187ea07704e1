// SPDX-License-Identifier: Apache-2.0
// Open files: each descriptor has one owner, reads and writes go by position, and every short or failed one is
// an error that names the file. Files are read into buffers, never mapped: a file that shrinks gives a message,
// not SIGBUS.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mu {

struct FarFile;  // far.h

// Owns a file descriptor; -1 when there is none.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// Which file it is, whatever its names.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};

// Which file it is, its size and its times: while the stamp is equal, the file is the same and unchanged.
struct FileStamp {
  FileId id;
  std::uint64_t size = 0;  // bytes
  std::int64_t mtime_ns = 0, ctime_ns = 0;
  auto operator<=>(const FileStamp&) const = default;
};
FileStamp stamp_of(const struct stat& status);
FileStamp stamp_of(const std::string& path);  // of what the path leads to; throws kIo

// A regular file open for reading, on this machine or mounted from another (far.h). Safe to read from
// several threads.
class InputFile {
 public:
  // Throws kIo: missing, no permission, a folder or a device.
  explicit InputFile(std::string path);
  // Takes an open descriptor of a regular file; `name` is for messages.
  static InputFile adopt(Fd fd, std::string name);

  // Fills `out` from `offset` on. Throws kIo when the file is shorter than it was.
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;

  // Closes the descriptor until the next read: sets of thousands of files need more than a process may have.
  // The kOpenParked parked files that were used last stay open. Reading throws kIo if the file was replaced.
  void park();
  static constexpr std::size_t kOpenParked = 128;  // far below the usual limit of 1024 descriptors

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }  // bytes, when it was opened
  // Its first bytes, up to `limit`; of a file on another machine, the ones that were fetched already, or some KB.
  [[nodiscard]] std::string read_start(std::uint64_t limit) const;
  [[nodiscard]] FileId id() const { return id_; }
  // The mounted file that is read; null for one on this machine, or a copy here.
  [[nodiscard]] const FarFile* far() const { return far_; }
  [[nodiscard]] mode_t mode() const { return mode_; }
  [[nodiscard]] FileStamp stamp() const;  // now; throws kIo
  // The descriptor, open as long as the pointer lives. Throws kIo when a parked file can't be opened again, and
  // for a file on another machine.
  [[nodiscard]] std::shared_ptr<const Fd> fd() const;

 private:
  InputFile(Fd fd, std::string path);

  std::shared_ptr<const Fd> fd_;  // null when parked
  const FarFile* far_ = nullptr;  // of a file on another machine, which has no descriptor
  std::string path_;
  std::uint64_t size_ = 0;
  FileId id_;
  mode_t mode_ = 0;
};

// A file being written; made by stage.h.
class OutputFile {
 public:
  OutputFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  // Writes all of `data`. Throws kIo; the message says when the disk is full.
  void write_at(std::uint64_t offset, std::span<const std::byte> data);
  // Waits until the bytes are on the disk. Throws kIo.
  void sync();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  Fd fd_;
  std::string path_;
};

// The whole of a regular file. Throws kMalformed when it has more than `limit` bytes.
std::string read_whole_file(const std::string& path, std::uint64_t limit);

// Reads a descriptor without positions (a pipe) to its end. Throws kMalformed beyond `limit` bytes.
std::string read_whole_stream(int fd, std::uint64_t limit, std::string_view name);

// Fills `out` from a descriptor without positions; returns how many bytes came before its end. Throws kIo, or
// Interrupted.
std::size_t read_stream(int fd, std::span<std::byte> out, std::string_view name);

// Writes all of `data` to a descriptor that has no positions (a pipe, a terminal). Throws kIo; a closed pipe
// is reported by errno EPIPE in BrokenPipe.
struct BrokenPipe {};
void write_stream(int fd, std::string_view data, std::string_view name);

}  // namespace mu
