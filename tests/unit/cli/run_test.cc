// SPDX-License-Identifier: Apache-2.0
#include "cli/run.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <new>
#include <stdexcept>

#include "base/error.h"
#include "cli/console.h"
#include "os/interrupt.h"
#include "testing.h"

namespace mu {
namespace {

// How a process ended that ran `body` under run(), with its stdout and stderr.
struct Ended {
  int code = -1;   // exit status, or -1
  int signal = 0;  // the one that killed it, or 0
  std::string out, err;
};

Ended run_in_child(const std::function<int()>& body, const std::string& stdout_path = {}) {
  const testing::TempFolder folder;
  const std::string out_path = stdout_path.empty() ? folder / "out" : stdout_path;
  const std::string err_path = folder / "err";
  flush_out();  // what earlier tests printed
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(::open(out_path.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    ::dup2(::open(err_path.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    std::_Exit(run("prog", body));
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  Ended ended;
  if (WIFEXITED(status)) ended.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
  if (stdout_path.empty()) ended.out = testing::get(out_path);
  ended.err = testing::get(err_path);
  return ended;
}

int throw_kind(ErrorKind kind) {
  out("before\n");
  throw Error(kind, "message").in_file("file");
}

TEST_CASE("run: an error is printed once, after what was printed before, and its kind is the code") {
  const std::pair<ErrorKind, int> table[] = {{ErrorKind::kAnswerNo, 1}, {ErrorKind::kUsage, 2},
                                             {ErrorKind::kPartial, 3},  {ErrorKind::kMalformed, 4},
                                             {ErrorKind::kRefused, 5},  {ErrorKind::kRemote, 6},
                                             {ErrorKind::kIo, 7},       {ErrorKind::kTemporary, 75}};
  for (const auto& [kind, code] : table) {
    const Ended ended = run_in_child([kind = kind] { return throw_kind(kind); });
    CHECK(ended.code == code);
    CHECK(ended.out == "before\n");
    CHECK(ended.err == "prog: file: message\n");
  }
}

TEST_CASE("run: results, early ends, lack of memory, foreign exceptions") {
  CHECK(run_in_child([] { return 1; }).code == 1);
  const Ended early = run_in_child([]() -> int {
    out("help");
    throw ExitNow{0};
  });
  CHECK(early.code == 0);
  CHECK(early.out == "help");
  CHECK(run_in_child([]() -> int { throw std::bad_alloc(); }).err == "prog: out of memory\n");
  const Ended foreign = run_in_child([]() -> int { throw std::runtime_error("odd"); });
  CHECK(foreign.code == 7);
  CHECK(foreign.err == "prog: internal error: odd; please report it\n");
}

TEST_CASE("run: a signal unwinds first and ends the process by itself") {
  struct SaysGone {
    ~SaysGone() { print_error("gone"); }
  };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const Ended ended = run_in_child([signal]() -> int {
      const SaysGone cleanup;
      std::raise(signal);
      check_interrupt();
      return 0;
    });
    CHECK(ended.signal == signal);
    CHECK(ended.err == "prog: gone\n");
  }
}

TEST_CASE("run: a full stdout is 7 and does not hide another error") {
  const Ended ended = run_in_child([] { return out("x"), 0; }, "/dev/full");
  CHECK(ended.code == 7);
  CHECK(ended.err == "prog: standard output: cannot write: No space left on device\n");
  const Ended both = run_in_child([] { return throw_kind(ErrorKind::kMalformed); }, "/dev/full");
  CHECK(both.code == 7);
  CHECK(both.err.starts_with("prog: file: message\n"));
  CHECK(run_in_child([] { return out(std::string(1 << 20, 'x')), 0; }, "/dev/full").code == 7);
}

TEST_CASE("run: a broken pipe ends quietly by SIGPIPE") {
  const Ended ended = run_in_child([] {
    int ends[2];
    if (::pipe(ends) != 0 || ::dup2(ends[1], STDOUT_FILENO) < 0) return 9;
    ::close(ends[0]);
    ::close(ends[1]);
    out("x");
    return 0;
  });
  CHECK(ended.signal == SIGPIPE);
  CHECK(ended.err.empty());
}

TEST_CASE("run: long and short output keep their order") {
  const std::string big(100'000, 'b');
  const Ended ended = run_in_child([&big] {
    out("a");
    out(big);
    out("c");
    return 0;
  });
  CHECK(ended.out == "a" + big + "c");
}

TEST_CASE("run: all operands are done and the code is the first of 7, 4, 1 that occurred") {
  const auto code_of = [](const std::string& operand) -> int {
    if (operand == "missing") throw Error(ErrorKind::kIo, "missing");
    if (operand == "broken") throw malformed("broken");
    if (operand == "no") throw Error(ErrorKind::kAnswerNo, "no");
    if (operand == "refused") throw refused("refused");
    out(operand);
    return operand == "found" ? 1 : 0;
  };
  const auto run_all = [&code_of](const std::vector<std::string>& operands) {
    return run_in_child([&] { return for_each_operand(operands, code_of); });
  };
  CHECK(run_all({"a", "b"}).code == 0);
  CHECK(run_all({"found", "a"}).code == 1);
  CHECK(run_all({"no", "a"}).out == "a");
  CHECK(run_all({"no", "a"}).code == 1);
  CHECK(run_all({"broken", "found", "a"}).code == 4);
  const Ended worst = run_all({"broken", "missing", "no", "a"});
  CHECK(worst.code == 7);
  CHECK(worst.out == "a");
  CHECK(worst.err == "prog: broken\nprog: missing\nprog: no\n");
  CHECK(run_all({"refused", "a"}).code == 5);
  CHECK(run_all({"refused", "a"}).out.empty());
}

TEST_CASE("console: quiet leaves errors, verbose says more, a status line is wiped by what follows") {
  const auto talk = [] {
    print_error("e");
    print_warning("w");
    print_note("n");
    print_detail("d");
    return 0;
  };
  CHECK(run_in_child(talk).err == "prog: e\nprog: warning: w\nprog: n\n");
  CHECK(run_in_child([&] { return console().quiet = true, talk(); }).err == "prog: e\n");
  CHECK(run_in_child([&] { return console().verbose = 1, talk(); }).err.ends_with("prog: d\n"));
  const Ended status = run_in_child([] {
    draw_status("1 %");
    draw_status("2 %");
    print_error("e");
    clear_status();
    return 0;
  });
  CHECK(status.err == "1 %\r\x1b[K2 %\r\x1b[Kprog: e\n");
}

TEST_CASE("console: colour is on or off as asked") {
  const auto paint = [](ColorMode mode) {
    return run_in_child([mode] {
      console().color = mode;
      out(red("x"));
      return 0;
    });
  };
  CHECK(paint(ColorMode::kAuto).out == "x");
  CHECK(paint(ColorMode::kNever).out == "x");
  CHECK(paint(ColorMode::kAlways).out == "\x1b[31mx\x1b[0m");
}

TEST_CASE("run: the note for the end comes behind the error, also of a signal, and not with -q") {
  const auto ends = [](ErrorKind kind) {
    note_at_end("first");
    note_at_end("to continue: prog");
    return throw_kind(kind);
  };
  const Ended failed = run_in_child([&] { return ends(ErrorKind::kTemporary); });
  CHECK(failed.err == "prog: file: message\nprog: to continue: prog\n");
  CHECK(failed.code == 75);
  const Ended interrupted = run_in_child([]() -> int {
    note_at_end("to continue: prog");
    throw Interrupted{SIGTERM};
  });
  CHECK(interrupted.err == "prog: to continue: prog\n");
  CHECK(interrupted.signal == SIGTERM);
  const Ended quiet = run_in_child([&] {
    console().quiet = true;
    return ends(ErrorKind::kIo);
  });
  CHECK(quiet.err == "prog: file: message\n");
}

}  // namespace
}  // namespace mu
