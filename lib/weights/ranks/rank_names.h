// SPDX-License-Identifier: Apache-2.0
// Files that every training process writes for itself. Their names hold the rank, and some of them also the
// number of processes. Pure functions of names.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

inline constexpr std::uint64_t kMostRanks = 1'000'000;  // more processes than ever trained one model

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

// The lowest missing rank below `end`: 2 for {0, 1, 3}. Nullopt if none is missing.
std::optional<std::uint64_t> first_missing(const std::set<std::uint64_t>& ranks, std::uint64_t end);

}  // namespace mu
