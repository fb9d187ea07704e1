// SPDX-License-Identifier: Apache-2.0
// Replaces a folder by another. What the old one held when that was planned is removed file by file; what
// somebody wrote into it since then is kept.
#pragma once

#include <sys/stat.h>

#include <map>
#include <set>
#include <string>

#include "os/file.h"

namespace mu {

// What lies in a folder, at any depth; links are not followed.
class Inventory {
 public:
  Inventory() = default;
  // Throws kIo, and kMalformed where folders are nested too deeply.
  explicit Inventory(const std::string& folder);

  // Whether the entry was there then and is unchanged. `path` is relative to the folder.
  [[nodiscard]] bool holds(const std::string& path, const struct stat& status) const;

 private:
  void add(const std::string& folder, const std::string& prefix, int depth);

  std::map<std::string, FileStamp> entries_;
};

// Empties and removes the folder `old`, whose place `target` has taken. Under the names `ours` (first
// components of paths) it removes what `planned` holds and what is the same file in both. Anything else moves
// into `target` if its name is free there. Throws kPartial when something had to stay; `old` then bears the
// first free name of VISIBLE, VISIBLE.2 and so on.
void retire_folder(const std::string& old, const std::string& target, const Inventory& planned,
                   const std::set<std::string>& ours, const std::string& visible);

}  // namespace mu
