// SPDX-License-Identifier: Apache-2.0
#include "fetch/partial_run.h"

#include <doctest/doctest.h>

#include <csignal>
#include <optional>

#include "child.h"
#include "os/interrupt.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

// A run that writes something and ends with that error. True if its partial output is there afterwards.
bool stays_after(std::optional<ErrorKind> kind) {
  const TempFolder folder;
  const std::optional<ErrorKind> ended = error_of([&] {
    with_partial_output(folder / "out", "a", false, [&](PartialOutput& partial) {
      put(join_path(partial.path(), "output"), "half");
      if (kind) throw Error(*kind, "ends");
    });
  });
  CHECK(ended == kind);
  return exists(folder / "out.partial");
}

}  // namespace

TEST_CASE(
    "partial run: kept where the same command may come further, removed where it can't and at the end") {
  for (const ErrorKind kind : {ErrorKind::kTemporary, ErrorKind::kIo}) CHECK(stays_after(kind));
  for (const ErrorKind kind : {ErrorKind::kAnswerNo, ErrorKind::kPartial, ErrorKind::kMalformed,
                               ErrorKind::kRefused, ErrorKind::kRemote})
    CHECK_FALSE(stays_after(kind));
  CHECK_FALSE(stays_after(std::nullopt));
}

TEST_CASE("partial run: kept after a signal, but not without anything in it") {
  for (const bool writes : {true, false}) {
    const TempFolder folder;
    bool interrupted = false;
    try {
      with_partial_output(folder / "out", "a", false, [&](PartialOutput& partial) {
        if (writes) put(join_path(partial.path(), "output"), "half");
        throw Interrupted{15};
      });
    } catch (const Interrupted&) {
      interrupted = true;
    }
    CHECK(interrupted);
    CHECK(exists(folder / "out.partial") == writes);
  }
}

TEST_CASE("partial run: its size is counted when a signal was noted, too") {
  const TempFolder folder;
  const int result = result_of_child([&] {
    install_signal_handlers();
    PartialOutput partial(folder / "out", "a", false);
    make_folders(join_path(partial.path(), "output/below"));
    put(join_path(partial.path(), "output/below/file"), std::string(100'000, 'x'));
    ::raise(SIGTERM);
    return partial.bytes() >= 100'000 ? kChildPassed : 1;
  });
  CHECK(result == kChildPassed);
}

TEST_CASE("partial run: the note has the size and a command for the shell") {
  const std::vector<std::string> plain = {"st-pack", "hf://o/n@v1:0.5", "-o", "my out"};
  CHECK(continue_note("my out.partial", 12'300'000'000, plain, false) ==
        "my out.partial keeps 12.30 GB; to continue: st-pack hf://o/n@v1:0.5 -o 'my out'");
  const std::vector<std::string> forced = {"./st-pack", "--select", "*.it's", "--force", "hf://o/n", "-oout"};
  CHECK(continue_note("out.partial", 1000, forced, false) ==
        "out.partial keeps 1.000 KB; to continue: ./st-pack --select '*.it'\\''s' hf://o/n -oout "
        "(--force would start anew)");
  CHECK(continue_note("out.partial", 1000, forced, true)
            .find("to continue, move what it was to replace away and run: ./st-pack") != std::string::npos);
}
