// SPDX-License-Identifier: Apache-2.0
#include "weights/torch/placement.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace mu;

namespace {

constexpr Placement kReplicate{};

Placement shard(std::uint64_t dim) {
  return {Placement::Kind::kShard, dim};
}

Placement strided(std::uint64_t dim, std::uint64_t factor) {
  return {Placement::Kind::kStridedShard, dim, factor};
}

using Numbers = std::vector<std::uint64_t>;

Region region(const Numbers& shape, const Numbers& mesh, const Numbers& coordinate,
              const std::vector<Placement>& placements) {
  return place_region(shape, mesh, coordinate, placements);
}

std::string fault(const Numbers& shape, const Numbers& mesh, const Numbers& coordinate,
                  const std::vector<Placement>& placements) {
  try {
    region(shape, mesh, coordinate, placements);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("placement: chunks are those of torch.chunk, the last ones short or empty") {
  CHECK(chunk_of(34, 3, 0) == Chunk{0, 12});
  CHECK(chunk_of(34, 3, 2) == Chunk{24, 10});
  CHECK(chunk_of(4, 3, 1) == Chunk{2, 2});
  CHECK(chunk_of(4, 3, 2) == Chunk{4, 0});
  CHECK(chunk_of(0, 3, 1) == Chunk{0, 0});
  CHECK(chunk_of(~0ULL, 2, 1) == Chunk{1ULL << 63, (1ULL << 63) - 1});
  CHECK(chunk_of(~0ULL, 1, ~0ULL) == Chunk{~0ULL, 0});
}

TEST_CASE("placement: which region each coordinate holds") {
  // Rows, columns, a grid, copies.
  CHECK(region({34, 2}, {3}, {2}, {shard(0)}) == Region{{24, 0}, {10, 2}});
  CHECK(region({4, 2}, {3}, {2}, {shard(0)}) == Region{{4, 0}, {0, 2}});
  CHECK(region({4, 9}, {2}, {1}, {shard(1)}) == Region{{0, 5}, {4, 4}});
  CHECK(region({4, 9}, {2, 2}, {1, 0}, {shard(0), shard(1)}) == Region{{2, 0}, {2, 5}});
  for (const std::uint64_t replica : {0U, 1U}) {
    CHECK(region({5}, {2, 2}, {replica, 0}, {kReplicate, shard(0)}) == Region{{0}, {3}});
    CHECK(region({5}, {2, 2}, {replica, 1}, {kReplicate, shard(0)}) == Region{{3}, {2}});
  }
  // FSDP over tensor parallelism: the second dimension of the mesh cuts first.
  const std::vector<Placement> both = {strided(0, 2), shard(0)};
  CHECK(region({10}, {2, 2}, {0, 0}, both) == Region{{0}, {3}});
  CHECK(region({10}, {2, 2}, {0, 1}, both) == Region{{5}, {3}});
  CHECK(region({10}, {2, 2}, {1, 0}, both) == Region{{3}, {2}});
  CHECK(region({10}, {2, 2}, {1, 1}, both) == Region{{8}, {2}});
  // Without a stride the first dimension cuts first.
  CHECK(region({10}, {2, 2}, {0, 1}, {shard(0), shard(0)}) == Region{{3}, {2}});
  // Three: HSDP over tensor parallelism, and two that cut before.
  CHECK(region({10}, {2, 2, 2}, {1, 0, 1}, {kReplicate, strided(0, 2), shard(0)}) == Region{{5}, {3}});
  CHECK(region({16}, {2, 2, 2}, {1, 0, 1}, {strided(0, 4), shard(0), shard(0)}) == Region{{6}, {2}});
  CHECK(region({}, {2}, {1}, {kReplicate}) == Region{});
}

TEST_CASE("placement: the regions of a mesh tile the tensor, whatever its size") {
  const std::vector<std::pair<Numbers, std::vector<Placement>>> meshes = {
      {{4}, {shard(0)}},
      {{2, 3}, {shard(0), shard(0)}},
      {{3, 2}, {strided(0, 2), shard(0)}},
      {{2, 2, 3}, {strided(0, 6), shard(0), shard(0)}},
      {{2, 2, 3}, {strided(0, 3), strided(0, 3), shard(0)}},
      {{2, 4, 1}, {strided(0, 4), shard(0), shard(0)}},
  };
  for (const auto& [mesh, placements] : meshes) {
    for (std::uint64_t rows = 0; rows < 40; ++rows) {
      std::vector<int> held(rows, 0);
      std::uint64_t places = 1;
      for (const std::uint64_t size : mesh) places *= size;
      for (std::uint64_t place = 0; place < places; ++place) {
        Numbers coordinate(mesh.size());
        for (std::uint64_t i = mesh.size(), rest = place; i-- > 0; rest /= mesh[i])
          coordinate[i] = rest % mesh[i];
        const Region part = region({rows}, mesh, coordinate, placements);
        for (std::uint64_t i = 0; i < part.size[0]; ++i) ++held.at(part.begin[0] + i);
      }
      CHECK(held == std::vector<int>(rows, 1));
    }
  }
}

TEST_CASE("placement: numbers that make no sense are named") {
  CHECK(fault({4}, {2}, {2}, {shard(0)}).find("coordinate 2 lies outside") != std::string::npos);
  CHECK(fault({4}, {2}, {0}, {shard(1)}).find("dimension 1") != std::string::npos);
  CHECK(fault({4}, {2}, {0}, {}).find("[FS-MESH]") != std::string::npos);
  CHECK(fault({4}, {2}, {}, {shard(0)}).find("[FS-MESH]") != std::string::npos);
  CHECK(fault({4}, {2}, {0}, {strided(0, 0)}).find("split factor is 0") != std::string::npos);
  CHECK(fault({4}, {2, 2}, {0, 0}, {strided(0, 3), shard(0)}).find("split factor of 3") != std::string::npos);
  CHECK(fault({4}, {2, 1ULL << 40, 1ULL << 40}, {0, 0, 0}, {strided(0, ~0ULL), shard(0), shard(0)})
            .find("split factor") != std::string::npos);
  CHECK(fault({4}, {2}, {0}, {{Placement::Kind::kPartial}}).find("[FS-PARTIAL]") != std::string::npos);
}

TEST_CASE("placement: written as torch prints it") {
  CHECK(placements_text(
            std::vector<Placement>{strided(0, 2), shard(1), kReplicate, {Placement::Kind::kPartial}}) ==
        "(_StridedShard(0, 2), Shard(1), Replicate(), Partial())");
}
