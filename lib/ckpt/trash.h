// SPDX-License-Identifier: Apache-2.0
// Moving instead of deleting: by rename within a file system; to another one by a synced copy that appears
// whole, after which the original goes.
#pragma once

#include <string>

#include "ckpt/hide.h"
#include "os/file.h"

namespace mu {

// TRASH/RUN, made when it is missing; RUN is the last part of the run's real path.
class TrashFolder {
 public:
  // Throws kIo.
  TrashFolder(const std::string& trash, const std::string& run_path);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  Fd fd_;
};

// Where a trash folder, which may not be there yet, would lie.
struct TrashPlace {
  dev_t device = 0;
  std::string first_below_run;  // where it lies below the run: the first part of its path there
};
TrashPlace place_of_trash(const std::string& trash, const std::string& run_path);

// Moves an entry of an open folder there, under `wanted` or, where that is taken, "wanted.2" and so on.
// `path` is the entry's, for messages. Returns the name. Throws kIo; the entry is then still where it was, or
// its hidden path is named. Throws as require_judged() where it is not the judged one (hide.h).
std::string move_to_trash(int folder, const std::string& name, const std::string& path, const Judged& judged,
                          const TrashFolder& trash, const std::string& wanted);

}  // namespace mu
