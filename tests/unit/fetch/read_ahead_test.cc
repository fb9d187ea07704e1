// SPDX-License-Identifier: Apache-2.0
#include "fetch/read_ahead.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "fetch/far_files.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

constexpr std::uint64_t kMiB = 1U << 20;

void read(const TestFile& file, std::uint64_t offset, std::uint64_t size) {
  std::string text(size, '\0');
  read_far(file, offset, std::as_writable_bytes(std::span(text)));
  CHECK(text == file.text.substr(offset, size));
}

// In pieces, as the writer of a stream does; `between` is called after each.
template <typename Between>
void read_all(const TestFile& file, const Between& between) {
  for (std::uint64_t at = 0; at < file.size; at += kMiB) {
    read(file, at, std::min(kMiB, file.size - at));
    between();
  }
}
void read_all(const TestFile& file) {
  read_all(file, [] {});
}

}  // namespace

TEST_CASE("read ahead: a reader in order gets every byte, and each is requested once") {
  Requests requests;
  const TestFile one("one", random_text(70 * kMiB + 5, 1), requests),
      two("two", random_text(3 * kMiB, 2), requests);
  ReadAhead ahead({one.all(), two.all()}, {});
  read_all(one);
  read_all(two);
  ahead.finish();
  CHECK(requests.bytes() == one.size + two.size);
}

TEST_CASE("read ahead: what is read at once may be more than is kept") {
  Requests requests;
  const TestFile file("file", random_text(70 * kMiB + 5, 1), requests);
  ReadAhead ahead({file.all()}, {});
  read(file, 0, file.size);
  ahead.finish();
  CHECK(requests.bytes() == file.size);
}

TEST_CASE("read ahead: a reader that waits is not run away from") {
  Requests requests;
  const TestFile file("file", random_text(100 * kMiB, 1), requests);
  ReadAhead ahead({file.all()}, {});
  // 16 MiB are taken, and up to the limit of fetch() is under way.
  const auto far = [&] { return requests.all.back().offset > 16 * kMiB + kMaxUnpassed; };
  CHECK(requests.wait([&] { return requests.all.size() >= 12; }));
  CHECK_FALSE(requests.wait(far, std::chrono::milliseconds(300)));
  read_all(file);
  CHECK(requests.wait(far));
}

TEST_CASE("read ahead: small things that come first are there as long as they are used") {
  Requests requests;
  const TestFile factors("factors", random_text(2 * kMiB, 1), requests),
      base("base", random_text(90 * kMiB, 2), requests), scales("scales", random_text(5000, 3), requests);
  ReadAhead ahead({factors.all(), scales.all(), base.all()}, {});
  read(base, 0, kMiB);
  read(factors, 0, factors.size);
  read_all(base, [&] { read(scales, 100, 4000); });
  ahead.finish();
  CHECK(requests.bytes() == factors.size + base.size + scales.size);
}

TEST_CASE("read ahead: what is far ahead, gone, or of no range is read on its own") {
  Requests requests;
  const TestFile base("base", random_text(90 * kMiB, 1), requests),
      late("late", random_text(kMiB, 2), requests), other("other", random_text(kMiB, 3), requests);
  ReadAhead ahead({base.all(), late.range(0, kMiB / 2)}, {});
  read(late, 0, 1000);
  read(other, 0, 1000);
  read(late, kMiB / 2 - 10, 20);
  read_all(base);
  CHECK(requests.bytes() <= base.size + kMiB / 2 + 2020);
  read(base, 5, 100);
  read(base, 40 * kMiB, 50 * kMiB);
  read(late, 0, kMiB / 2);
  ahead.finish();
}

TEST_CASE("read ahead: nothing hangs when the fetch fails, whoever waits") {
  for (std::size_t failing = 0; failing < 20; failing += 3) {
    Requests requests;
    const TestFile file("file", random_text(90 * kMiB, 1), requests);
    requests.before_answer = [&](std::size_t number) {
      // The others wait for the reader by then, and the reader for this one.
      if (number == failing && failing < 3) CHECK(requests.wait([&] { return requests.all.size() >= 8; }));
      if (number == failing) throw Error(ErrorKind::kTemporary, "no answer");
    };
    ReadAhead ahead({file.all()}, {});
    CHECK(error_of([&] { read_all(file); }) == ErrorKind::kTemporary);
    CHECK(error_of([&] { ahead.finish(); }) == ErrorKind::kTemporary);
  }
}

TEST_CASE("read ahead: it can end at any time") {
  Requests requests;
  const TestFile file("file", random_text(90 * kMiB, 1), requests);
  for (const std::uint64_t size : {std::uint64_t{0}, kMiB, 30 * kMiB}) {
    const ReadAhead ahead({file.all()}, {});
    read(file, 0, size);
  }
}

TEST_CASE("read ahead: another SHA-256 is an error at the end") {
  Requests requests;
  TestFile file("file", random_text(3 * kMiB, 1), requests);
  file.sha256 = sha256_of("other");
  ReadAhead ahead({file.all()}, {});
  CHECK(error_of([&] {
          read_all(file);
          ahead.finish();
        }) == ErrorKind::kRemote);
}
