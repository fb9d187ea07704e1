// SPDX-License-Identifier: Apache-2.0
// A checkpoint folder while it is judged: its entries by the folder they lie in, and what the judges of the
// several layouts find out together.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ckpt/walk.h"
#include "model/roles.h"
#include "os/file.h"

namespace mu {

// The same dozen names come ten thousand times: role_of, remembered.
FileRole cached_role(const std::string& name, bool is_folder);

struct PlacedEntry {
  const WalkedEntry* entry;
  std::string_view base;  // its name in its folder
  FileRole role;
};

// A folder of a checkpoint and what lies right in it, sorted by name.
struct Place {
  std::string prefix;  // "" of the checkpoint itself, "actor/"
  std::vector<PlacedEntry> entries;

  [[nodiscard]] const PlacedEntry* find(std::string_view base) const;
};

class CheckpointFiles {
 public:
  CheckpointFiles(int folder, const std::string& path, const Walk& walk);

  // Every folder that training or loading may look into, the checkpoint itself first. What is hidden, logs,
  // and checkpoints that lie in it are left out.
  [[nodiscard]] const std::vector<Place>& places() const { return places_; }
  [[nodiscard]] const Place& top() const { return places_.front(); }
  [[nodiscard]] const Place* find_place(std::string_view prefix) const;
  // What a file of a folder calls `name`, also in a folder below: "part/x.bin". Null when it is not there.
  [[nodiscard]] const PlacedEntry* find(const Place& place, std::string_view name) const;
  [[nodiscard]] const std::string& path() const { return path_; }

  // Throws kIo.
  [[nodiscard]] InputFile open(const WalkedEntry& entry) const;
  // Of a link what it leads to; 0 where it leads nowhere.
  [[nodiscard]] std::uint64_t size_of(const WalkedEntry& entry) const;
  [[nodiscard]] bool leads_nowhere(const WalkedEntry& entry) const;

 private:
  int folder_;
  const std::string& path_;
  std::vector<Place> places_;
};

// What was found out so far.
struct Evidence {
  std::string fault;             // the first thing that is missing, cut or contradicts itself
  std::string doubt;             // what is odd and makes it no less complete
  bool is_recognised = false;    // weights or training state lie in it
  bool has_weights = false;      // that load by themselves …
  bool has_safetensors = false;  // … in a file that surely holds more than placeholders
  bool has_parts = false;        // ranks' parts of the weights
  bool has_optimizer = false, has_scheduler = false;
  bool is_zero = false, is_stage3 = false;
  bool has_own_dcp = false;       // the checkpoint itself is one of torch, its metadata written last
  bool has_counted_zero = false;  // ZeRO's files are as many as they say
  bool has_rank_files = false, has_first_rank = false;
  bool is_rank_only = false;         // … and nothing else
  std::set<std::string> rank_parts;  // "critic/optim.pt", "mp_rank_01"
  std::string lacks_tag;             // what DeepSpeed does not find its files without
  std::string lacks_first;           // what is missing unless another node keeps it
  std::uint64_t processes = 0;       // that saved it, at least, as far as files of ranks tell

  void blame(std::string why) {
    if (fault.empty()) fault = std::move(why);
  }
};

}  // namespace mu
