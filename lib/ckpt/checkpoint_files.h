// SPDX-License-Identifier: Apache-2.0
// A checkpoint folder while it is being judged: its entries, grouped by the folder that holds them, and the
// evidence that the judges of the several layouts collect together.
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

// role_of(), with a memory: the same dozen names come up ten thousand times.
FileRole cached_role(const std::string& name, bool is_folder);

struct PlacedEntry {
  const WalkedEntry* entry;
  std::string_view base;  // its name in its folder
  FileRole role;
};

// A folder of a checkpoint and its direct entries, sorted by name.
struct Place {
  std::string prefix;  // "" for the checkpoint itself, else "actor/"
  std::vector<PlacedEntry> entries;

  [[nodiscard]] const PlacedEntry* find(std::string_view base) const;
};

class CheckpointFiles {
 public:
  CheckpointFiles(int folder, const std::string& path, const Walk& walk);

  // Every folder that training or loading may look into, the checkpoint itself first. Hidden folders, folders
  // of logs and nested checkpoints are left out.
  [[nodiscard]] const std::vector<Place>& places() const { return places_; }
  [[nodiscard]] const Place& top() const { return places_.front(); }
  [[nodiscard]] const Place* find_place(std::string_view prefix) const;
  // Resolves a name as a file in `place` would use it; the name may lead into a folder below: "part/x.bin".
  // Null if nothing has that name.
  [[nodiscard]] const PlacedEntry* find(const Place& place, std::string_view name) const;
  [[nodiscard]] const std::string& path() const { return path_; }

  // Throws kIo.
  [[nodiscard]] InputFile open(const WalkedEntry& entry) const;
  // The size of the file, or of a link's target; 0 for a broken link.
  [[nodiscard]] std::uint64_t size_of(const WalkedEntry& entry) const;
  [[nodiscard]] bool leads_nowhere(const WalkedEntry& entry) const;

 private:
  int folder_;
  const std::string& path_;
  std::vector<Place> places_;
};

// What the judges have found out so far.
struct Evidence {
  std::string fault;             // the first thing that is missing, cut or contradicts itself
  std::string doubt;             // odd, but does not make it incomplete
  bool is_recognised = false;    // it holds weights or training state
  bool has_weights = false;      // weights that load on their own …
  bool has_safetensors = false;  // … in a file that surely holds more than placeholders
  bool has_partitions = false;   // the ranks' partitions of the weights
  bool has_optimizer = false, has_scheduler = false;
  bool is_zero = false, is_stage3 = false;
  bool has_own_dcp = false;       // it is a torch.distributed checkpoint, whose metadata come last
  bool has_counted_zero = false;  // there are as many ZeRO files as they say there should be
  bool has_rank_files = false, has_first_rank = false;
  bool is_rank_only = false;        // … and nothing else
  std::set<std::string> rank_sets;  // "critic/optim.pt", "mp_rank_01"
  std::string lacks_tag;            // the missing file without which DeepSpeed does not find the others
  std::string lacks_first;          // missing, unless another node keeps it
  std::uint64_t processes = 0;      // at least this many saved it, as far as the files of ranks show

  void blame(std::string why) {
    if (fault.empty()) fault = std::move(why);
  }
};

}  // namespace mu
