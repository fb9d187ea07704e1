// SPDX-License-Identifier: Apache-2.0
// Moves entries to a trash folder instead of deleting them: by rename within a file system; to another file
// system by a synced copy that appears complete, after which the original is removed.
#pragma once

#include <string>

#include "ckpt/hide.h"
#include "os/file.h"

namespace mu {

// The folder TRASH/RUN, made if it is missing; RUN is the last component of the real path of the run.
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

// Where a trash folder is, or would be if it does not exist yet.
struct TrashPlace {
  dev_t device = 0;
  std::string first_below_run;  // if it is below the run: the first component of its path there
};
TrashPlace place_of_trash(const std::string& trash, const std::string& run_path);

// Moves an entry of an open folder into the trash, as `wanted` or, if that is taken, "wanted.2" and so on.
// `path` is the path of the entry, for messages. Returns the new name. Throws kIo; the entry is then still
// where it was, or the message names its hidden path. Throws what require_judged() throws if it is not the
// judged entry (hide.h).
std::string move_to_trash(int folder, const std::string& name, const std::string& path, const Judged& judged,
                          const TrashFolder& trash, const std::string& wanted);

}  // namespace mu
