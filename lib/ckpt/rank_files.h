// SPDX-License-Identifier: Apache-2.0
// Files of which every training process writes its own: their names hold its rank, some of them also how many
// there were. Pure functions of names.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

struct RankName {
  std::string kind;  // what is left of the name without the numbers: "model.pt"
  std::uint64_t rank = 0;
  std::optional<std::uint64_t> processes;  // "world_size_8"
  bool is_rng = false;
};

// rng_state_3.pth, random_states_3.pkl, model_world_size_8_rank_3.pt (verl, SkyRL),
// pytorch_model_fsdp_0_rank3.bin, optimizer_0_rank3.bin (accelerate), rank3-of-8-optimizer.pt (XLA).
std::optional<RankName> parse_rank_name(std::string_view name);

// "__3_0.distcp": the rank.
std::optional<std::uint64_t> distcp_rank(std::string_view name);

// Megatron's folder mp_rank_01_002: the place in each dimension of parallelism.
std::optional<std::vector<std::uint64_t>> parse_model_rank_folder(std::string_view name);

// The files of ranks of one folder.
class RankFiles {
 public:
  void add(const RankName& name);

  [[nodiscard]] std::set<std::string> kinds() const;  // random states apart
  [[nodiscard]] bool is_empty() const { return kinds_.empty(); }
  [[nodiscard]] bool has_first() const;  // of rank 0 there is something
  // How many processes these files tell of, at least.
  [[nodiscard]] std::uint64_t processes() const;
  // What is missing of a save by at least `processes`; empty when nothing is. On a node's own disk the ranks
  // begin somewhere and are only told to have no gap.
  [[nodiscard]] std::string missing(std::uint64_t processes) const;
  [[nodiscard]] std::string gap() const;

 private:
  struct Kind {
    std::set<std::uint64_t> ranks;
    bool is_rng = false;
  };
  std::map<std::pair<std::uint64_t, std::string>, Kind> kinds_;  // by processes (0: not said) and kind
};

// A grid of model-parallel ranks is whole: what is missing, or empty. `places` are what
// parse_model_rank_folder made of the names.
std::string missing_of_grid(const std::set<std::vector<std::uint64_t>>& places);

// The lowest rank below `end` that is missing: 2 of {0, 1, 3}. Nothing when all are there.
std::optional<std::uint64_t> first_missing(const std::set<std::uint64_t>& ranks, std::uint64_t end);

}  // namespace mu
