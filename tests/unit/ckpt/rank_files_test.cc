// SPDX-License-Identifier: Apache-2.0
#include "ckpt/rank_files.h"

#include <doctest/doctest.h>

#include <initializer_list>

using namespace mu;

namespace {

RankFiles files_of(std::initializer_list<const char*> names) {
  RankFiles files;
  for (const char* name : names) files.add(parse_rank_name(name).value());
  return files;
}

}  // namespace

TEST_CASE("rank files: names") {
  struct Row {
    const char* name;
    const char* kind;
    std::uint64_t rank, processes;  // processes: 0 if the name does not say
  };
  constexpr Row kRows[] = {
      {"rng_state_0.pth", "rng_state", 0, 0},
      {"rng_state_15.pth", "rng_state", 15, 0},
      {"random_states_3.pkl", "random_states", 3, 0},
      {"model_world_size_8_rank_3.pt", "model.pt", 3, 8},
      {"extra_state_world_size_2_rank_1.pt", "extra_state.pt", 1, 2},
      {"pytorch_model_fsdp_rank1.bin", "pytorch_model_fsdp.bin", 1, 0},
      {"pytorch_model_fsdp_0_rank12.bin", "pytorch_model_fsdp_0.bin", 12, 0},
      {"optimizer_0_rank1.bin", "optimizer_0.bin", 1, 0},
      {"rank3-of-8-optimizer.pt", "optimizer.pt", 3, 8},
  };
  for (const Row& row : kRows) {
    CAPTURE(row.name);
    const std::optional<RankName> found = parse_rank_name(row.name);
    REQUIRE(found.has_value());
    CHECK(found->kind == row.kind);
    CHECK(found->rank == row.rank);
    CHECK(found->processes.value_or(0) == row.processes);
  }
  for (const char* name :
       {"rng_state.pth", "rng_state_x.pth", "rng_state_1.pt", "rng_state_-1.pth",
        "rng_state_99999999999999.pth", "_world_size_2_rank_1.pt", "model_world_size_2_rank_.pt",
        "model_world_size__rank_1.pt", "model_world_size_2_rank_1x", "rank1-of-2-", "rank-of-2-x",
        "optimizer_0_rank.bin", "profile_rank1.bin", "optimizer.bin", ""}) {
    CAPTURE(name);
    CHECK_FALSE(parse_rank_name(name).has_value());
  }
  CHECK(distcp_rank("__12_0.distcp") == 12);
  for (const char* name : {"__0.distcp", "_0_0.distcp", "__x_0.distcp", "__0_0.pt"})
    CHECK_FALSE(distcp_rank(name).has_value());
  using Place = std::vector<std::uint64_t>;
  CHECK(parse_model_rank_folder("mp_rank_00") == Place{0});
  CHECK(parse_model_rank_folder("mp_rank_01_002_003") == Place{1, 2, 3});
  for (const char* name : {"mp_rank", "mp_rank_", "mp_rank_0x", "mp_rank_00_model_states.pt", "xmp_rank_00"})
    CHECK_FALSE(parse_model_rank_folder(name).has_value());
}

TEST_CASE("rank files: a missing one is noticed whichever rank it has") {
  CHECK(files_of({"rng_state_0.pth", "rng_state_1.pth"}).missing(0).empty());
  CHECK(files_of({"rng_state_1.pth"}).missing(0) ==
        "random states of 1 rank, 2 expected: rank 0's is missing");
  CHECK(files_of({"rng_state_0.pth", "rng_state_2.pth"}).missing(0) ==
        "random states of 2 ranks, 3 expected: rank 1's is missing");
  CHECK(files_of({"rng_state_0.pth"}).missing(2) ==
        "random states of 1 rank, 2 expected: rank 1's is missing");
  // The first of two nodes with disks of their own; not the first three of four processes.
  CHECK(files_of({"rng_state_0.pth", "rng_state_1.pth"}).missing(4).empty());
  CHECK_FALSE(files_of({"rng_state_0.pth", "rng_state_1.pth", "rng_state_2.pth"}).missing(4).empty());
  CHECK(files_of({"a_world_size_2_rank_0.pt"}).missing(0) ==
        "a.pt files of 1 rank, 2 expected: rank 1's is missing");
  CHECK(files_of({"a_world_size_2_rank_0.pt", "a_world_size_2_rank_1.pt", "b_world_size_2_rank_0.pt"})
            .missing(0) == "b.pt files of 1 rank, 2 expected: rank 1's is missing");
  // Two sets side by side, each complete.
  CHECK(files_of({"a_world_size_1_rank_0.pt", "a_world_size_2_rank_0.pt", "a_world_size_2_rank_1.pt"})
            .missing(0)
            .empty());
  CHECK(
      files_of({"optimizer_0_rank0.bin", "pytorch_model_fsdp_0_rank0.bin", "pytorch_model_fsdp_0_rank1.bin"})
          .processes() == 2);
}

TEST_CASE("rank files: on a node's own disk only gaps count") {
  CHECK(files_of({"rng_state_8.pth", "rng_state_9.pth"}).gap().empty());
  CHECK(files_of({"rng_state_8.pth", "rng_state_10.pth"}).gap() ==
        "rng_state of rank 9 is missing between those of other ranks");
  CHECK(files_of({"a_world_size_4_rank_2.pt", "b_world_size_4_rank_3.pt"}).gap() ==
        "a.pt and b.pt are of different ranks");
  CHECK_FALSE(files_of({"rng_state_8.pth"}).has_first());
}

TEST_CASE("rank files: a grid of model-parallel ranks") {
  CHECK(missing_of_grid({}).empty());
  CHECK(missing_of_grid({{0}, {1}}).empty());
  CHECK(missing_of_grid({{0, 0}, {0, 1}, {1, 0}, {1, 1}}).empty());
  CHECK(missing_of_grid({{1}}) == "1 mp_rank folders, 2 expected");
  CHECK(missing_of_grid({{0, 0}, {0, 1}, {1, 0}}) == "3 mp_rank folders, 4 expected");
  CHECK(missing_of_grid({{0}, {0, 1}}) == "mp_rank folders of two kinds are mixed");
}
