// SPDX-License-Identifier: Apache-2.0
// A temporary file without a name ($TMPDIR, else /tmp), for data that come once and are needed by position.
// It vanishes when it is closed, whatever happens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "os/file.h"

namespace mu {

class Spool {
 public:
  Spool();  // throws kIo
  // Throws kIo, with advice on TMPDIR when the disk is full.
  void append(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t size() const { return size_; }  // bytes appended
  // Fills `out` with what was appended from `offset` on. Throws kIo. Safe beside an append.
  void read_at(std::uint64_t offset, std::span<std::byte> out) const;
  // Hands the file over for reading; `name` is for messages. The spool is empty afterwards.
  InputFile finish(std::string name);

 private:
  Fd fd_;
  std::uint64_t size_ = 0;
};

// Spools a descriptor without positions (a pipe) to its end. Throws kIo, or Interrupted.
InputFile spool_stream(int fd, std::string name);

}  // namespace mu
