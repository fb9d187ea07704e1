// SPDX-License-Identifier: Apache-2.0
#include "base/part.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

using Costs = std::vector<std::uint64_t>;

std::vector<std::uint64_t> loads(const Costs& costs, std::size_t count) {
  std::vector<std::uint64_t> sums;
  for (const std::vector<std::size_t>& part : cut_by_cost(costs, count)) {
    std::uint64_t sum = 0;
    for (const std::size_t unit : part) sum += costs[unit];
    sums.push_back(sum);
  }
  return sums;
}

// Bytes of the tensors of Llama 3.1 405B in bf16: 126 layers, hidden 16384, 128 heads, 8 of keys, ffn 53248.
Costs llama_405b() {
  constexpr std::uint64_t kHidden = 16384, kKeys = 1024, kFfn = 53248, kVocabulary = 128256;
  Costs costs = {kVocabulary * kHidden * 2, kVocabulary * kHidden * 2, kHidden * 2};
  for (int layer = 0; layer < 126; ++layer)
    for (const std::uint64_t elements :
         {kHidden * kHidden, kHidden * kHidden, kKeys * kHidden, kKeys * kHidden, kFfn * kHidden,
          kFfn * kHidden, kFfn * kHidden, kHidden, kHidden})
      costs.push_back(elements * 2);
  return costs;
}

}  // namespace

TEST_CASE("part: I/N is read whole or refused") {
  CHECK(parse_part("1/1") == Part{1, 1});
  CHECK(parse_part("7/512") == Part{7, 512});
  for (const char* text : {"", "/", "1", "1/", "/1", "0/1", "2/1", "1/0", "-1/2", "+1/2", " 1/2", "1/2 ",
                           "1/2/3", "1/1000001", "99999999999999999999/99999999999999999999"})
    CHECK_MESSAGE(error_of([&] { parse_part(text); }) == ErrorKind::kUsage, text);
}

TEST_CASE("part: every unit lies in one part, in rising order, also units without cost") {
  const Costs costs = {5, 0, 9, 9, 0, 1, 30, 2, 0, 4};
  for (std::size_t count = 1; count <= 12; ++count) {
    std::vector<std::size_t> seen;
    for (const std::vector<std::size_t>& part : cut_by_cost(costs, count)) {
      CHECK(std::is_sorted(part.begin(), part.end()));
      seen.insert(seen.end(), part.begin(), part.end());
    }
    std::sort(seen.begin(), seen.end());
    std::vector<std::size_t> all(costs.size());
    std::iota(all.begin(), all.end(), 0);
    CHECK(seen == all);
  }
  CHECK(cut_by_cost({0, 0, 0, 0}, 2) == std::vector<std::vector<std::size_t>>{{0, 2}, {1, 3}});
  CHECK(cut_by_cost({}, 2) == std::vector<std::vector<std::size_t>>{{}, {}});
  CHECK(units_of({2, 3}, {3, 2, 1}) == std::vector<std::size_t>{1});
}

TEST_CASE(
    "part: the largest part of a 405B model is within 5 % of the mean, or above it by less than one "
    "tensor") {
  const Costs costs = llama_405b();
  const std::uint64_t total = std::accumulate(costs.begin(), costs.end(), std::uint64_t{0});
  CHECK(total / 2 > 405'000'000'000);
  for (std::size_t count = 1; count <= 512; ++count) {
    const std::uint64_t mean = total / count;
    for (const std::vector<std::size_t>& part : cut_by_cost(costs, count)) {
      std::uint64_t sum = 0, smallest = total;
      for (const std::size_t unit : part) {
        sum += costs[unit];
        smallest = std::min(smallest, costs[unit]);
      }
      const bool balanced = sum <= mean * 105 / 100 || sum - smallest <= mean;
      CHECK_MESSAGE(balanced, "N = ", count, ": ", sum, " of mean ", mean);
    }
    // Up to here a tensor of an MLP is small enough beside the mean.
    const std::vector<std::uint64_t> sums = loads(costs, count);
    if (count <= 115) CHECK(*std::max_element(sums.begin(), sums.end()) <= mean * 105 / 100);
  }
}
