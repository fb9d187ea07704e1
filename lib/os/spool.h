// SPDX-License-Identifier: Apache-2.0
// A temporary file without a name ($TMPDIR, else /tmp), for data that come once and are needed by position.
// It vanishes when it is closed, whatever happens.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "os/file.h"

namespace mu {

class Spool {
 public:
  Spool();  // throws kIo
  // Throws kIo, with advice on TMPDIR when the disk is full.
  void append(std::span<const std::byte> bytes);
  // For reading; `name` is for messages. The spool is empty afterwards.
  InputFile finish(std::string name);

 private:
  Fd fd_;
};

// Everything that comes from a descriptor without positions. Throws kIo, or Interrupted.
InputFile spool_stream(int fd, std::string name);

}  // namespace mu
