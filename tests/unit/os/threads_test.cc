// SPDX-License-Identifier: Apache-2.0
#include "os/threads.h"

#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "os/lock.h"
#include "testing.h"

using namespace mu;

TEST_CASE("threads: every piece is done once") {
  for (const unsigned threads : {1U, 2U, 7U}) {
    std::vector<std::atomic<int>> done(1000);
    parallel_for(done.size(), threads, [&](std::size_t i) { ++done[i]; });
    for (const std::atomic<int>& count : done) CHECK(count == 1);
  }
  parallel_for(0, 4, [](std::size_t) { FAIL("nothing to do"); });
}

TEST_CASE("threads: a failure stops the rest and reaches the caller") {
  for (const unsigned threads : {1U, 4U}) {
    std::atomic<std::size_t> started{0};
    CHECK_THROWS_AS(parallel_for(1'000'000, threads,
                                 [&](std::size_t i) {
                                   ++started;
                                   if (i == 10) throw std::runtime_error("ten");
                                 }),
                    std::runtime_error);
    CHECK(started < 1'000'000);
  }
}

TEST_CASE("threads: there is always one") {
  CHECK(default_thread_count() >= 1);
}

TEST_CASE("lock: the second to ask gets a temporary failure") {
  const mu::testing::TempFolder folder;
  {
    const FileLock first(folder / "lock");
    CHECK(mu::testing::error_of([&] { FileLock second(folder / "lock"); }) == ErrorKind::kTemporary);
  }
  CHECK_FALSE(mu::testing::error_of([&] { FileLock again(folder / "lock"); }).has_value());
}
