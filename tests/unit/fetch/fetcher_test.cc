// SPDX-License-Identifier: Apache-2.0
#include "fetch/fetcher.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "fetch/far_files.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

constexpr std::uint64_t kMiB = 1U << 20;

// Takes blocks and marks, and holds both to what fetcher.h promises.
struct Taker {
  explicit Taker(std::vector<FarRange> ranges) : sequence(std::move(ranges)) {
    for (const FarRange& range : sequence)
      got.emplace_back(range.size, '\0'), times.emplace_back(range.size, 0);
  }

  std::uint64_t place_of(std::size_t range, std::uint64_t at) const {
    std::uint64_t place = at;
    for (std::size_t i = 0; i < range; ++i) place += sequence[i].size;
    return place;
  }

  void take(const FarBlock& block) {
    const std::lock_guard<std::mutex> lock(mutex);
    const std::uint64_t at = block.offset - sequence[block.range].offset;
    if (at % 16 != 0) is_right = false;
    std::memcpy(got[block.range].data() + at, block.bytes.data(), block.bytes.size());
    for (std::uint64_t i = at; i < at + block.bytes.size(); ++i) ++times[block.range][i];
    taken += block.bytes.size();
    most_unpassed = std::max(most_unpassed, taken - passed_bytes);
  }

  void passed(const FetchMark& mark) {
    const std::lock_guard<std::mutex> lock(mutex);
    const std::uint64_t place = place_of(mark.range, mark.at);
    if (place < passed_bytes) is_right = false;
    for (std::size_t i = 0; i < sequence.size() && i <= mark.range; ++i) {
      const std::uint64_t end = i < mark.range ? sequence[i].size : mark.at;
      for (std::uint64_t at = checked; i == checked_range && at < end; ++at)
        is_right = is_right && times[i][at] == 1;
      if (i == checked_range && i < mark.range)
        ++checked_range, checked = 0;
      else if (i == checked_range)
        checked = end;
    }
    passed_bytes = place;
    marks.push_back(mark);
  }

  void run(const FetchOptions& options = {}) {
    fetch(
        sequence, options, [this](const FarBlock& block) { take(block); },
        [this](const FetchMark& mark) { passed(mark); });
  }

  std::vector<FarRange> sequence;
  std::mutex mutex;
  std::vector<std::string> got, times;
  std::uint64_t taken = 0, passed_bytes = 0, most_unpassed = 0;
  std::size_t checked_range = 0;
  std::uint64_t checked = 0;
  std::vector<FetchMark> marks;
  bool is_right = true;
};

bool is_end(const FetchMark& mark, const std::vector<FarRange>& sequence) {
  return mark == FetchMark{sequence.size(), 0};
}

}  // namespace

TEST_CASE("fetch: every byte comes once, and marks go on to the end") {
  Requests requests;
  const TestFile one("one", random_text(20 * kMiB + 7, 1), requests), two("two", random_text(3, 2), requests),
      three("three", random_text(9 * kMiB, 3), requests, 100'001);
  Taker taker({one.all(), two.all(), three.all()});
  taker.run();
  CHECK(taker.got[0] == one.text);
  CHECK(taker.got[1] == two.text);
  CHECK(taker.got[2] == three.text.substr(100'001));
  CHECK(taker.is_right);
  CHECK(requests.bytes() == bytes_of(taker.sequence));
  REQUIRE(!taker.marks.empty());
  CHECK(is_end(taker.marks.back(), taker.sequence));
}

TEST_CASE("fetch: without anything to read, the mark of the end passes once") {
  Requests requests;
  const TestFile file("file", "text", requests);
  for (const std::vector<FarRange>& sequence :
       {std::vector<FarRange>{}, {file.range(2, 0), file.range(4, 0)}}) {
    Taker taker(sequence);
    taker.run();
    REQUIRE(taker.marks.size() == 1);
    CHECK(is_end(taker.marks[0], sequence));
  }
  CHECK(requests.all.empty());
}

TEST_CASE("fetch: a file that has another SHA-256 is refused at its end") {
  Requests requests;
  TestFile wrong("hf://a/b/wrong", random_text(3 * kMiB, 1), requests);
  const TestFile next("next", random_text(9 * kMiB, 2), requests);
  wrong.far.sha256 = sha256_of("other");
  Taker taker({wrong.all(), next.all()});
  try {
    taker.run();
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kRemote);
    CHECK(error.message().find("SHA-256") != std::string::npos);
    CHECK(error.file() == "hf://a/b/wrong");
  }
  CHECK(taker.passed_bytes < 3 * kMiB);
  // Of ranges nothing is known.
  Taker ranges({wrong.range(0, kMiB), wrong.range(2 * kMiB, kMiB)});
  ranges.run();
}
