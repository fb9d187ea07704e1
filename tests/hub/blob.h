// SPDX-License-Identifier: Apache-2.0
// The bytes of an object: in memory, in a file without a name, or nowhere (only their number is kept). Parts
// are written by position, several threads at once.
#pragma once

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
  explicit Blob(std::string bytes) : size_(bytes.size()), bytes_(std::move(bytes)) {}

  void write_at(std::uint64_t offset, std::span<const std::byte> data);
  // Fills `out`. The range lies within the blob; what was discarded reads as zeros.
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string sha256() const;  // hex, of all bytes
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  std::uint64_t size_;
  std::string bytes_;
  mu::Fd file_;
  bool discard_ = false;
};

using BlobPointer = std::shared_ptr<const Blob>;

}  // namespace hub
