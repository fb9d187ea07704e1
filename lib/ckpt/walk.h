// SPDX-License-Identifier: Apache-2.0
// The entries of a checkpoint folder, two levels or more deep, by descriptors: links are seen and never
// followed, and what is mounted inside is told, not entered.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ckpt/facts.h"

namespace mu {

struct WalkedEntry {
  std::string name;  // relative to the checkpoint, "global_step10/x.pt"
  enum class Kind : std::uint8_t { kFile, kFolder, kLink, kOther } kind = Kind::kOther;
  FileStamp stamp;
  std::uint64_t size = 0;        // bytes
  std::uint64_t disk_bytes = 0;  // blocks that are allocated
  std::uint64_t links = 1;       // names of the file
};

struct Walk {
  std::vector<WalkedEntry> entries;  // sorted by name; a folder stands before what it holds
  bool has_mount = false;
  bool is_changing = false;  // an entry vanished while it was looked at

  [[nodiscard]] const WalkedEntry* find(std::string_view name) const;
};

std::uint64_t disk_bytes_of(const struct stat& status);

// Lists everything below an open folder. Throws kIo, and kMalformed beyond a million entries or 32 levels.
Walk walk_folder(int folder, const std::string& path);

// A folder in an open one, links not followed; without a descriptor, and errno set, where it can't be opened.
Fd open_folder_at(int parent, const std::string& name);

// Name and d_type of each entry of an open folder, "." and ".." left out, sorted by name. Throws kIo.
std::vector<std::pair<std::string, unsigned char>> list_at(int folder, const std::string& path);

}  // namespace mu
