// SPDX-License-Identifier: Apache-2.0
// The bytes of an object: in memory, in a file without a name, or nowhere (only their number is kept). Parts
// are written by position, several threads at once.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "os/file.h"

namespace hub {

class Blob {
 public:
  // Room for `size` bytes, in memory, or when there are many of them and `folder` is not empty, in a file
  // there. Throws mu::Error kIo.
  Blob(std::uint64_t size, const std::string& folder, bool discard);
  explicit Blob(std::string bytes) : size_(bytes.size()), bytes_(std::move(bytes)), number_(++counter_) {}

  void write_at(std::uint64_t offset, std::span<const std::byte> data);
  // Fills `out`. The range lies within the blob; what was discarded reads as zeros.
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;
  // Sends some of `size` bytes, at least one, without a copy where it can; as send(2).
  ssize_t send(int socket, std::uint64_t offset, std::size_t size) const;
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string sha256() const;  // hex, of all bytes
  [[nodiscard]] std::uint64_t size() const { return size_; }
  // Each is the next one of this process: what tells an object from one that comes in its place.
  [[nodiscard]] std::uint64_t number() const { return number_; }

 private:
  static inline std::atomic<std::uint64_t> counter_{0};
  std::uint64_t size_;
  std::string bytes_;
  mu::Fd file_;
  bool discard_ = false;
  std::uint64_t number_;
};

using BlobPointer = std::shared_ptr<const Blob>;

}  // namespace hub
