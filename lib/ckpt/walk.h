// SPDX-License-Identifier: Apache-2.0
// Lists the entries of a checkpoint folder at any depth, through descriptors. Links are listed but never
// followed; mounts are reported but not entered.
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
  std::uint64_t disk_bytes = 0;  // allocated blocks
  std::uint64_t links = 1;       // number of names of the file
};

struct Walk {
  std::vector<WalkedEntry> entries;  // sorted by name; a folder comes before what it holds
  bool has_mount = false;
  bool is_changing = false;  // an entry vanished during the walk

  [[nodiscard]] const WalkedEntry* find(std::string_view name) const;
};

std::uint64_t disk_bytes_of(const struct stat& status);

// Lists everything below an open folder. Throws kIo, and kMalformed beyond a million entries or 32 levels.
Walk walk_folder(int folder, const std::string& path);

// Opens a folder in an open folder, without following links. Returns no descriptor, and sets errno, if it
// can't be opened.
Fd open_folder_at(int parent, const std::string& name);

// The name and d_type of each entry of an open folder except "." and "..", sorted by name. Throws kIo.
std::vector<std::pair<std::string, unsigned char>> list_at(int folder, const std::string& path);

}  // namespace mu
