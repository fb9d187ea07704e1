// SPDX-License-Identifier: Apache-2.0
// Files that every training process writes for itself. Their names hold the rank, and some of them also the
// number of processes. Pure functions of names.
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
  std::string kind;  // the name without the numbers: "model.pt"
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

// The lowest missing rank below `end`: 2 for {0, 1, 3}. Nullopt if none is missing.
std::optional<std::uint64_t> first_missing(const std::set<std::uint64_t>& ranks, std::uint64_t end);

}  // namespace mu
