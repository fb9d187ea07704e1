// SPDX-License-Identifier: Apache-2.0
#include "fetch/fetcher.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "child.h"
#include "fetch/byte_set.h"
#include "fetch/far_files.h"
#include "os/interrupt.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

constexpr std::uint64_t kMiB = 1U << 20;

// Takes blocks and marks, and holds both to what fetcher.h promises.
struct Taker {
  explicit Taker(std::vector<FarRange> ranges) : sequence(std::move(ranges)), got(sequence.size()) {}

  [[nodiscard]] std::uint64_t place_of(const FetchMark& mark) const {
    return mark.at + bytes_of({sequence.begin(), sequence.begin() + static_cast<std::ptrdiff_t>(mark.range)});
  }
  [[nodiscard]] std::uint64_t before(const FetchMark& mark, std::size_t range) const {
    return range < mark.range ? sequence[range].size : range == mark.range ? mark.at : 0;
  }

  void take(const FarBlock& block) {
    const FarRange& range = sequence[block.range];
    const ByteRun run{block.offset - range.offset, block.offset - range.offset + block.bytes.size()};
    const std::string& text = static_cast<const TestFile&>(*range.file).text;
    if (before_take) before_take(takes++);
    const std::lock_guard<std::mutex> lock(mutex);
    is_right = is_right && run.begin % 16 == 0 && run.end <= range.size && got[block.range].misses(run) &&
               std::memcmp(text.data() + block.offset, block.bytes.data(), block.bytes.size()) == 0;
    got[block.range].add(run);
  }

  void pass(const FetchMark& mark) {
    if (before_pass) before_pass(marks.size());
    const std::lock_guard<std::mutex> lock(mutex);
    is_right = is_right && place_of(mark) >= passed;
    for (std::size_t i = 0; i < sequence.size(); ++i) is_right = is_right && got[i].has({0, before(mark, i)});
    passed = place_of(mark);
    marks.push_back(mark);
  }

  void run(const FetchOptions& options = {}) {
    for (std::size_t i = 0; i < sequence.size(); ++i) got[i].add({0, before(options.from, i)});
    passed = place_of(options.from);
    fetch(
        sequence, options, [this](const FarBlock& block) { take(block); },
        [this](const FetchMark& mark) { pass(mark); });
  }

  // Whether all came, and the end was told.
  [[nodiscard]] bool is_whole() const {
    return is_right && !marks.empty() && marks.back() == FetchMark{sequence.size(), 0} &&
           passed == bytes_of(sequence);
  }

  std::vector<FarRange> sequence;
  std::mutex mutex;
  std::function<void(std::size_t)> before_take{}, before_pass{};  // with their numbers
  std::vector<ByteSet> got;                                       // by range
  std::atomic<std::size_t> takes = 0;
  std::uint64_t passed = 0;  // bytes of the sequence
  std::vector<FetchMark> marks;
  bool is_right = true;
};

// Files of sizes that fit nothing, read in turns as for a pair of models, with one that is not read whole.
struct Mixed {
  static const std::string& text(unsigned which) {
    static const std::string texts[] = {random_text(5 * kMiB + 7, 1), random_text(4 * kMiB, 2),
                                        random_text(2 * kMiB, 3)};
    return texts[which];
  }

  Requests requests;
  TestFile one{"one", text(0), requests, 1000}, two{"two", text(1), requests}, tiny{"tiny", "abc", requests},
      part{"part", text(2), requests};
  std::vector<FarRange> sequence = {one.range(1000, 3 * kMiB),
                                    two.range(0, kMiB + 16),
                                    tiny.range(0, 0),
                                    tiny.all(),
                                    one.range(1000 + 3 * kMiB, 17),
                                    part.range(5, kMiB),
                                    two.range(kMiB + 16, 1),
                                    two.range(kMiB + 17, 3 * kMiB - 17),
                                    one.range(3 * kMiB + 1017, 2 * kMiB + 7 - 1017),
                                    tiny.range(3, 0)};
};

// Waits until `ready` is told.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool is_open = false;
  void open() {
    const std::lock_guard<std::mutex> lock(mutex);
    is_open = true;
    changed.notify_all();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    CHECK(changed.wait_for(lock, std::chrono::seconds(20), [this] { return is_open; }));
  }
};

}  // namespace

TEST_CASE("fetch: every byte comes once, and marks go on to the end") {
  Mixed files;
  Taker taker(files.sequence);
  std::atomic<std::uint64_t> counted = 0;
  FetchOptions options;
  options.on_bytes = [&](std::uint64_t bytes) { counted += bytes; };
  taker.run(options);
  CHECK(taker.is_whole());
  CHECK(files.requests.bytes() == bytes_of(files.sequence));
  CHECK(counted == bytes_of(files.sequence));
}

TEST_CASE("fetch: without anything to read, the mark of the end passes once") {
  Requests requests;
  const TestFile file("file", "text", requests);
  for (const std::vector<FarRange>& sequence :
       {std::vector<FarRange>{}, std::vector<FarRange>{file.range(2, 0), file.range(4, 0)}}) {
    Taker taker(sequence);
    taker.run();
    CHECK(taker.is_whole());
    CHECK(taker.marks.size() == 1);
  }
  CHECK(requests.all.empty());
}

TEST_CASE("fetch: while the first block is missing, others come up to the limit, and nothing passes") {
  Requests requests;
  const TestFile file("file", random_text(100 * kMiB + 5, 1), requests);
  Taker taker({file.all()});
  std::atomic<bool> is_early = false;
  taker.before_pass = [&](std::size_t) {
    if (requests.bytes() < kMaxUnpassed - 8 * kMiB) is_early = true;
  };
  requests.before_answer = [&](std::size_t number) {
    if (number != 0) return;
    // All that may be requested comes while this one waits.
    CHECK(requests.wait([&] {
      std::uint64_t bytes = 0;
      for (const Requests::One& one : requests.all) bytes += one.size;
      return bytes > kMaxUnpassed - 8 * kMiB;
    }));
  };
  taker.run();
  CHECK_FALSE(is_early);
  CHECK(taker.is_whole());
}

TEST_CASE("fetch: never more than the limit is requested and has not passed") {
  for (const unsigned connections : {0U, 2U, 16U, 64U}) {
    Requests requests;
    const TestFile file("file", random_text(100 * kMiB + 5, 1), requests);
    Taker taker({file.all()});
    std::atomic<bool> is_too_much = false;
    requests.before_answer = [&](std::size_t) {
      const std::uint64_t requested = requests.bytes();  // grows later than `passed`
      const std::lock_guard<std::mutex> lock(taker.mutex);
      if (requested > taker.passed + kMaxUnpassed) is_too_much = true;
    };
    FetchOptions options;
    options.connections = connections;
    taker.run(options);
    CHECK_FALSE(is_too_much);
    CHECK(taker.is_whole());
  }
}

TEST_CASE("fetch: blocks go on coming while passed() is under way") {
  Requests requests;
  const TestFile file("file", random_text(60 * kMiB, 1), requests);
  Taker taker({file.all()});
  Gate passing;
  requests.before_answer = [&](std::size_t number) {
    if (number > 1) passing.wait();
  };
  taker.before_pass = [&](std::size_t number) {
    if (number != 0) return;
    passing.open();
    CHECK(requests.wait([&] { return requests.all.size() >= 6; }));  // 24 MiB
  };
  FetchOptions options;
  options.connections = 4;
  taker.run(options);
  CHECK(taker.is_whole());
}

TEST_CASE("fetch: as many requests at a time as was said, or several") {
  for (const unsigned connections : {0U, 1U, 2U, 5U, 16U}) {
    Requests requests;
    const TestFile file("file", random_text(60 * kMiB, 1), requests);
    Taker taker({file.all()});
    const unsigned wanted = connections == 0 ? 4 : connections;
    requests.before_answer = [&](std::size_t) {
      CHECK(requests.wait([&] { return requests.most >= wanted; }));
    };
    FetchOptions options;
    options.connections = connections;
    taker.run(options);
    CHECK(taker.is_whole());
    CHECK(requests.most <= (connections == 0 ? 16 : connections));
  }
}

TEST_CASE("fetch: a file that has another SHA-256 is refused at its end") {
  Requests requests;
  TestFile wrong("hf://a/b/wrong", random_text(3 * kMiB, 1), requests);
  const TestFile next("next", random_text(90 * kMiB, 2), requests);
  wrong.sha256 = sha256_of("other");
  Taker taker({wrong.all(), next.all()});
  try {
    taker.run();
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kRemote);
    CHECK(error.message().find("SHA-256") != std::string::npos);
    CHECK(error.file() == "hf://a/b/wrong");
  }
  CHECK(taker.passed < 3 * kMiB);
  CHECK(requests.bytes() < 60 * kMiB);
  // Of ranges nothing is known.
  Taker ranges({wrong.range(0, kMiB), wrong.range(2 * kMiB, kMiB)});
  ranges.run();
  CHECK(ranges.is_whole());
  // What was here before is part of the file.
  TestFile start("start", random_text(3 * kMiB, 3), requests, 1000);
  start.start = "not the start of that file";
  CHECK(error_of([&] { Taker({start.range(start.start.size(), 3 * kMiB - start.start.size())}).run(); }) ==
        ErrorKind::kRemote);
}

TEST_CASE("fetch: from any mark on, the rest is read, and all is hashed") {
  Mixed files;
  FetchOptions options;
  options.connections = 64;  // small blocks
  std::vector<FetchMark> marks;
  {
    Taker taker(files.sequence);
    taker.run(options);
    CHECK(taker.is_whole());
    marks = taker.marks;
  }
  // Marks that one run gives are few: those of runs that end early are others.
  for (std::size_t failing = 0;; ++failing) {
    Mixed again;
    Taker taker(again.sequence);
    again.requests.before_answer = [&](std::size_t number) {
      if (number >= failing) throw Error(ErrorKind::kTemporary, "no answer");
    };
    const std::optional<ErrorKind> kind = error_of([&] { taker.run(options); });
    CHECK(taker.is_right);
    if (!kind) break;
    CHECK(kind == ErrorKind::kTemporary);
    if (!taker.marks.empty()) marks.push_back(taker.marks.back());
  }
  CHECK(marks.size() > 15);
  for (const FetchMark& mark : marks) {
    CAPTURE(mark.text());
    options.from = FetchMark::parse(mark.text()).value();
    CHECK(options.from == mark);
    Mixed again;
    Taker taker(again.sequence);
    taker.run(options);
    CHECK(taker.is_whole());
    CHECK(again.requests.bytes() == bytes_of(again.sequence) - taker.place_of(mark));
    // Were one byte of what came before another, the file would be another.
    for (auto& [first, state] : options.from.hashes) {
      state[0] = state[0] == '0' ? '1' : '0';
      CHECK(error_of([&] { Taker(again.sequence).run(options); }) == ErrorKind::kRemote);
      options.from = mark;
    }
  }
}

TEST_CASE("fetch: marks of other work are refused, and no other text is a mark") {
  Mixed files;
  const auto refused = [&](const FetchMark& mark) {
    FetchOptions options;
    options.from = mark;
    return error_of([&] {
      fetch(
          files.sequence, options, [](const FarBlock&) {}, [](const FetchMark&) {});
    });
  };
  CHECK(refused({0, 16}) == ErrorKind::kMalformed);  // without the state of the file
  CHECK(refused({0, 3 * kMiB}) == ErrorKind::kMalformed);
  CHECK(refused({10, 1}) == ErrorKind::kMalformed);
  CHECK(refused({11, 0}) == ErrorKind::kMalformed);
  CHECK(refused({0, 16, {{0, Sha256().state()}}}) == ErrorKind::kMalformed);  // of fewer bytes
  const FetchMark mark{3, 4, {{0, Sha256().state()}, {1, Sha256().state()}}};
  const std::string text = mark.text();
  CHECK(text.find('\n') == std::string::npos);
  CHECK(FetchMark::parse(text) == mark);
  for (std::size_t size = 0; size < text.size(); ++size) CHECK_FALSE(FetchMark::parse(text.substr(0, size)));
  for (const char* other :
       {"{}", "[]", "{\"range\":1,\"at\":-1,\"hashes\":{}}", "{\"range\":1,\"at\":1}",
        "{\"range\":1,\"at\":1,\"hashes\":{\"x\":\"\"}}", "{\"range\":1,\"at\":1,\"hashes\":{},\"more\":1}"})
    CHECK_FALSE(FetchMark::parse(other));
}

TEST_CASE("fetch: a fault of any block, of take or of passed ends it, when what came before it has passed") {
  FetchOptions options;
  options.connections = 3;
  const auto no_answer = [] { throw Error(ErrorKind::kTemporary, "no answer"); };
  for (std::size_t failing = 0;; ++failing) {
    Mixed files;
    Taker taker(files.sequence);
    files.requests.before_answer = [&](std::size_t number) {
      if (number == failing) no_answer();
    };
    const std::optional<ErrorKind> kind = error_of([&] { taker.run(options); });
    CHECK(taker.is_right);
    if (!kind) {
      CHECK(taker.is_whole());
      CHECK(failing >= 8);
      break;
    }
    CHECK(kind == ErrorKind::kTemporary);
    const Requests::One& failed = files.requests.all[failing];
    const FetchMark mark = taker.marks.empty() ? FetchMark{} : taker.marks.back();
    CHECK(files.sequence[mark.range].file == failed.file);
    CHECK(files.sequence[mark.range].offset + mark.at == failed.offset);
  }
  for (std::size_t failing = 0;; ++failing) {
    Mixed files;
    Taker taker(files.sequence);
    taker.before_take = [&](std::size_t number) {
      if (number == failing) no_answer();
    };
    const bool failed = error_of([&] { taker.run(options); }) == ErrorKind::kTemporary;
    CHECK(taker.is_right);
    CHECK(failed != taker.is_whole());
    if (!failed) break;
  }
  Mixed files;
  Taker taker(files.sequence);
  taker.before_pass = [&](std::size_t) { no_answer(); };
  std::size_t faults = 0;
  options.on_fault = [&] { ++faults; };
  CHECK(error_of([&] { taker.run(options); }) == ErrorKind::kTemporary);
  CHECK(taker.marks.empty());
  CHECK(faults == 1);
}

TEST_CASE("fetch: the first of several faults is thrown") {
  Requests requests;
  const TestFile file("file", random_text(60 * kMiB, 1), requests);
  Gate thrown;
  FetchOptions options;
  options.on_fault = [&] { thrown.open(); };
  requests.before_answer = [&](std::size_t number) {
    if (number == 2) throw Error(ErrorKind::kTemporary, "no answer");
    if (number == 0) {
      thrown.wait();
      throw Error(ErrorKind::kRemote, "no such file");
    }
  };
  Taker taker({file.all()});
  CHECK(error_of([&] { taker.run(options); }) == ErrorKind::kTemporary);
  CHECK(taker.marks.empty());
  CHECK(requests.bytes() < kMaxUnpassed);
}

TEST_CASE("fetch: a request that does not end is given up some time after a fault") {
  Requests requests;
  const TestFile file("file", random_text(60 * kMiB, 1), requests);
  requests.before_answer = [&](std::size_t number) {
    if (number == 1) throw Error(ErrorKind::kRemote, "no such file");
    // As one that waits for a server that fails.
    if (number == 0)
      for (Gate never;; check_interrupt()) {
        std::unique_lock<std::mutex> lock(never.mutex);
        never.changed.wait_for(lock, std::chrono::milliseconds(10));
      }
  };
  Taker taker({file.all()});
  CHECK(error_of([&] { taker.run(); }) == ErrorKind::kRemote);
  CHECK(taker.marks.empty());
}

TEST_CASE("fetch: a signal ends it, and what was taken passes") {
  CHECK(result_of_child([] {
          install_signal_handlers();
          Requests requests;
          const TestFile file("file", random_text(60 * kMiB, 1), requests);
          Taker taker({file.all()});
          Gate interrupted;
          FetchOptions options;
          options.on_fault = [&] { interrupted.open(); };
          requests.before_answer = [&](std::size_t number) {
            if (number == 2) ::raise(SIGTERM);
            if (number >= 2) interrupted.wait();
          };
          try {
            taker.run(options);
          } catch (const Interrupted& caught) {
            const bool passed = taker.is_right && taker.passed >= requests.all[0].size + requests.all[1].size;
            return caught.signal == SIGTERM && passed ? kChildPassed : 1;
          }
          return 2;
        }) == kChildPassed);
}
