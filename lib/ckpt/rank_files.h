// SPDX-License-Identifier: Apache-2.0
// Which ranks wrote files into a folder, by their names, and which are missing. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "weights/ranks/rank_names.h"

namespace mu {

// The files of ranks in one folder.
class RankFiles {
 public:
  void add(const RankName& name);

  [[nodiscard]] std::set<std::string> kinds() const;  // without random states
  [[nodiscard]] bool is_empty() const { return kinds_.empty(); }
  [[nodiscard]] bool has_first() const;  // rank 0 has a file
  // The number of processes that these files show, at least.
  [[nodiscard]] std::uint64_t processes() const;
  // missing(): what a save by at least `processes` processes lacks; empty if nothing. gap(): the same on a
  // node's own disk, where the ranks may begin anywhere and only a gap between them is a fault.
  [[nodiscard]] std::string missing(std::uint64_t processes) const;
  [[nodiscard]] std::string gap() const;

 private:
  struct Kind {
    std::set<std::uint64_t> ranks;
    bool is_rng = false;
  };
  std::map<std::pair<std::uint64_t, std::string>, Kind> kinds_;  // by processes (0: unknown) and kind
};

// What is missing in a grid of model-parallel ranks; empty if nothing. `places` are the results of
// parse_model_rank_folder().
std::string missing_of_grid(const std::set<std::vector<std::uint64_t>>& places);

}  // namespace mu
