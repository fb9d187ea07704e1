// SPDX-License-Identifier: Apache-2.0
// A record of uploads in pieces that are under way, so that a push that was killed sends only what is missing
// when it runs again: JSON lines in the user's state folder, never in the folder pushed. Only the user can
// read it, since links to storage are secrets.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/lfs_batch.h"
#include "hub/repo.h"
#include "os/file.h"
#include "os/lock.h"

namespace mu {

// Where the journal of a push lies below the folder `state`; empty where there is no such folder.
std::string journal_path(const std::string& state, const std::string& endpoint, const Repo& repo,
                         const std::string& revision, const std::string& prefix);

class Journal {
 public:
  // Reads the file and takes its lock. Throws kTemporary while another push to the same place runs. Where the
  // journal can't be written or has no path, nothing is kept: fault() says why, and the push goes on.
  explicit Journal(const std::string& path);

  // An upload in pieces that can go on, and the entity tags of the pieces that are stored, by number from 0.
  struct Saved {
    LfsUpload upload;
    std::map<std::size_t, std::string> etags;
  };
  // Returns nothing where the links don't live for another minute.
  [[nodiscard]] std::optional<Saved> find(const std::string& oid, double now) const;

  void begin(const LfsUpload& upload);
  void add_piece(const std::string& oid, std::size_t piece, const std::string& etag);
  void forget(const std::string& oid);
  // Call it when the push is complete.
  void remove();

  [[nodiscard]] std::string fault() const;

 private:
  void read(std::string_view text);
  void append(const std::string& line);

  std::string path_;
  std::optional<FileLock> lock_;
  mutable std::mutex mutex_;
  Fd fd_;
  std::string fault_;
  std::map<std::string, Saved> saved_;
};

}  // namespace mu
