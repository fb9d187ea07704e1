// SPDX-License-Identifier: Apache-2.0
// One run at a time: an advisory lock on a file. It keeps honest runs apart on one machine; correctness never
// depends on it, since network file systems may not carry it.
#pragma once

#include <string>

#include "os/file.h"

namespace mu {

class FileLock {
 public:
  // Makes the file when it is missing and takes the lock. Throws kTemporary when another process holds it.
  explicit FileLock(const std::string& path);

 private:
  Fd fd_;
};

}  // namespace mu
