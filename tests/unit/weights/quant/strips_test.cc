// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/strips.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>

#include "base/error.h"
#include "os/threads.h"

using namespace mu;

namespace {

// Two sources whose bytes say where they are; counts how much is read.
struct Counted {
  std::vector<Tensor> tensors;
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<int> failures{0};  // reads that still fail
  ReadSource read = [this](std::uint32_t source, std::uint64_t offset, std::span<std::byte> out) {
    if (failures > 0) {
      --failures;
      throw io_error("read", 5);
    }
    bytes += out.size();
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>((offset + i) / 7 + source);
  };
  Sources sources{tensors, read};

  Counted(std::uint64_t first, std::uint64_t second)
      : tensors{{"a", Dtype::kU8, {first}, 0, 0, first}, {"b", Dtype::kU8, {second}, 1, 0, second}} {}
};

}  // namespace

TEST_CASE("strips: each byte is read once by threads that follow one another") {
  constexpr std::uint64_t kUnits = 3000, kFirst = 4096, kSecond = 100;
  Counted counted(kUnits * kFirst - 9, kUnits * kSecond);  // the last unit is short
  Strips strips(kUnits, {kFirst, kSecond});
  std::atomic<int> wrong{0};
  const auto look = [&](std::uint64_t unit) {
    const std::shared_ptr<const Strips::Strip> strip = strips.around(counted.sources, unit);
    const std::uint64_t at = unit - strip->first;
    if (at >= strip->count) ++wrong;
    if (strip->bytes[0][at * kFirst + 5] != static_cast<std::byte>((unit * kFirst + 5) / 7)) ++wrong;
    if (strip->bytes[1][at * kSecond] != static_cast<std::byte>(unit * kSecond / 7 + 1)) ++wrong;
  };
  for (std::uint64_t unit = 0; unit < kUnits; ++unit) look(unit);
  CHECK(wrong == 0);
  CHECK(counted.bytes == kUnits * (kFirst + kSecond) - 9);
  parallel_for(kUnits, 4, look);
  CHECK(wrong == 0);
}

TEST_CASE("strips: a read that fails is tried again by the next") {
  Counted counted(64, 16);
  counted.failures = 1;
  Strips strips(8, {8, 2});
  CHECK_THROWS_AS(strips.around(counted.sources, 3), Error);
  CHECK(strips.around(counted.sources, 3)->bytes[0][14] == std::byte{2});
}
