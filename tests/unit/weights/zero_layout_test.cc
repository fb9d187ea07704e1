// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/zero_layout.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::vector<FlatShape> parameters(std::initializer_list<std::uint64_t> counts) {
  std::vector<FlatShape> out;
  for (const std::uint64_t count : counts) out.push_back({"p", {count}, count});
  return out;
}

// One run per rank, each at byte 0 of a file of its own.
std::vector<FlatRun> partitions(std::initializer_list<std::uint64_t> counts) {
  std::vector<FlatRun> out;
  for (const std::uint64_t count : counts)
    out.push_back({Dtype::kF32, static_cast<std::uint32_t>(out.size()), 0, count});
  return out;
}

std::vector<std::vector<FlatRun>> ranks_of(std::size_t ranks, std::uint64_t count) {
  std::vector<std::vector<FlatRun>> out;
  for (std::size_t r = 0; r < ranks; ++r)
    out.push_back({{Dtype::kF32, static_cast<std::uint32_t>(r), 0, count}});
  return out;
}

FlatRun run(std::uint32_t source, std::uint64_t first, std::uint64_t count) {
  return {Dtype::kF32, source, 4 * first, count};
}

template <typename Action>
std::string fault(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("zero_layout: partitions of stages 1 and 2 are one vector") {
  // One parameter of five elements on four ranks: partitions of 2, 2, 1 and 0.
  CHECK(place_stage12(parameters({5}), partitions({2, 2, 1, 0}), {}, 0) ==
        std::vector<std::vector<FlatRun>>{{run(0, 0, 2), run(1, 0, 2), run(2, 0, 1)}});
  // 161 elements on two ranks, in partitions of 82 and 79; and with the padding left in, 82.
  for (const std::uint64_t last : {79U, 82U}) {
    const auto places = place_stage12(parameters({80, 81}), partitions({82, last}), {}, 0);
    CHECK(places == std::vector<std::vector<FlatRun>>{{run(0, 0, 80)}, {run(0, 80, 2), run(1, 0, 79)}});
  }
  // Gaps of parameter_alignment, none after the last.
  CHECK(place_stage12(parameters({3, 4}), partitions({4, 4}), std::vector<std::uint64_t>{1, 0}, 0) ==
        std::vector<std::vector<FlatRun>>{{run(0, 0, 3)}, {run(1, 0, 4)}});
  CHECK(place_stage12(parameters({}), partitions({0, 0}), {}, 0).empty());
}

TEST_CASE("zero_layout: partitions that are too short, or longer than padding explains") {
  CHECK(fault([] {
          place_stage12(parameters({6}), partitions({2, 2, 1, 0}), {}, 3);
        }).find("[ZR-SIZE]") != std::string::npos);
  CHECK(fault([] {
          place_stage12(parameters({5}), partitions({3, 3, 3, 3}), {}, 3);
        }).find("[ZR-SIZE]") != std::string::npos);
  CHECK(fault([] { place_stage12(parameters({5}), partitions({2, 2, 2, 2}), {}, 0); }).empty());
  CHECK(fault([] {
          place_stage12(parameters({~0ULL, 2}), partitions({2}), {}, 0);
        }).find("[ZR-SIZE]") != std::string::npos);
  CHECK(fault([] {
          place_stage12(parameters({1, 1}), partitions({2}), std::vector<std::uint64_t>{~0ULL}, 0);
        }).find("[ZR-SIZE]") != std::string::npos);
}

TEST_CASE("zero_layout: partitions of stage 3 hold a piece of every parameter") {
  // 91, 35 and 35 on three ranks: 31 + 12 + 12 elements each.
  const auto places = place_stage3(parameters({91, 35, 35}), ranks_of(3, 55), 0);
  CHECK(places[0] == std::vector<FlatRun>{run(0, 0, 31), run(1, 0, 31), run(2, 0, 29)});
  CHECK(places[1] == std::vector<FlatRun>{run(0, 31, 12), run(1, 31, 12), run(2, 31, 11)});
  CHECK(places[2] == std::vector<FlatRun>{run(0, 43, 12), run(1, 43, 12), run(2, 43, 11)});
  // 1, 5, 5, 7: 1 + 2 + 2 + 3; the first has only padding on two ranks.
  CHECK(place_stage3(parameters({1, 5, 5, 7}), ranks_of(3, 8), 0)[0] == std::vector<FlatRun>{run(0, 0, 1)});
  CHECK(place_stage3(parameters({1}), ranks_of(11, 1), 0)[0] == std::vector<FlatRun>{run(0, 0, 1)});
  // A partition that spans two sub-groups.
  std::vector<std::vector<FlatRun>> two = {{run(0, 0, 2), run(0, 10, 3)}};
  CHECK(place_stage3(parameters({4, 1}), two, 0)[0] == std::vector<FlatRun>{run(0, 0, 2), run(0, 10, 2)});
}

TEST_CASE("zero_layout: partitions of stage 3 must be used up exactly and be equally long") {
  CHECK(fault([] {
          place_stage3(parameters({91, 35}), ranks_of(3, 55), 0);
        }).find("[ZR-SIZE]") != std::string::npos);
  CHECK(fault([] {
          place_stage3(parameters({91, 35, 37}), ranks_of(3, 55), 0);
        }).find("[ZR-SIZE]") != std::string::npos);
  CHECK(fault([] { place_stage3(parameters({4}), ranks_of(2, 0), 0); }).find("[ZR-NVME]") !=
        std::string::npos);
  std::vector<std::vector<FlatRun>> uneven = ranks_of(2, 2);
  uneven[1][0].count = 3;
  CHECK(fault([&] { place_stage3(parameters({4}), uneven, 0); }).find("[ZR-SIZE]") != std::string::npos);
}
