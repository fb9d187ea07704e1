// SPDX-License-Identifier: Apache-2.0
#include "os/file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "child.h"
#include "os/copy.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/lock.h"
#include "os/remove_tree.h"
#include "os/threads.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

OutputFile output(const std::string& path) {
  return {Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)), path};
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

template <typename Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

int noted_signal(auto action) {
  try {
    action();
  } catch (const Interrupted& interrupted) {
    return interrupted.signal;
  }
  return 0;
}

}  // namespace

TEST_CASE("file: a descriptor has one owner") {
  const int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    Fd first(raw);
    Fd second(std::move(first));
    CHECK(second.get() == raw);
    Fd third;
    third = std::move(second);
    CHECK(third.get() == raw);
    CHECK(is_open(raw));
    Fd& same = third;
    third = std::move(same);
    CHECK(third.get() == raw);
  }
  CHECK_FALSE(is_open(raw));
  Fd kept(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int released = kept.release();
  CHECK(kept.get() == -1);
  CHECK(is_open(released));
  ::close(released);
}

TEST_CASE("file: reads by position, and nothing beyond the end") {
  const TempFolder folder;
  put(folder / "f", "0123456789");
  const InputFile file(folder / "f");
  CHECK(file.size() == 10);
  std::byte four[4];
  file.read_at(6, four);
  CHECK(as_text(four) == "6789");
  CHECK_NOTHROW(file.read_at(10, {}));
  CHECK(error_of([&] { file.read_at(7, four); }) == ErrorKind::kIo);
  CHECK(error_of([&] { file.read_at(100, four); }) == ErrorKind::kIo);
  CHECK(message_of([&] { file.read_at(7, four); }).starts_with(folder / "f: ends at byte 10"));
}

TEST_CASE("file: the same file has one id, whatever its names") {
  const TempFolder folder;
  put(folder / "f", "x");
  put(folder / "other", "x");
  ::chmod((folder / "f").c_str(), 0640);
  REQUIRE(::symlink("f", (folder / "link").c_str()) == 0);
  CHECK(InputFile(folder / "f").id() == InputFile(folder / "link").id());
  CHECK(InputFile(folder / "f").id() != InputFile(folder / "other").id());
  CHECK(InputFile(folder / "link").mode() == 0640);
}

TEST_CASE("file: pipes and broken links are refused at once") {
  const TempFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0666) == 0);
  CHECK(error_of([&] { InputFile file(folder / "pipe"); }) == ErrorKind::kIo);
  REQUIRE(::symlink("nowhere", (folder / "broken").c_str()) == 0);
  CHECK(error_of([&] { InputFile file(folder / "broken"); }) == ErrorKind::kIo);
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const Fd write_end(ends[1]);
  CHECK(error_of([&] { InputFile::adopt(Fd(ends[0]), "-"); }) == ErrorKind::kIo);
  CHECK_FALSE(is_open(ends[0]));
}

TEST_CASE("file: messages show names that are safe for a terminal") {
  CHECK(message_of([] {
          InputFile file("/no\n/such\x1b[2J");
        }).starts_with("/no\\n/such\\x1b[2J: cannot open"));
}

TEST_CASE("file: writes land where they should, holes are zeros") {
  const TempFolder folder;
  OutputFile file = output(folder / "f");
  file.write_at(4, as_bytes("ef"));
  file.write_at(0, as_bytes("a"));
  file.write_at(0, {});
  file.sync();
  CHECK(get(folder / "f") == std::string("a\0\0\0ef", 6));
}

TEST_CASE("file: a full disk is named") {
  OutputFile full{Fd(::open("/dev/full", O_WRONLY | O_CLOEXEC)), "/dev/full"};
  CHECK(error_of([&] { full.write_at(0, as_bytes("x")); }) == ErrorKind::kIo);
  CHECK(message_of([&] { full.write_at(0, as_bytes("x")); }) ==
        "/dev/full: cannot write: No space left on device");
  const Fd stream(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  CHECK(error_of([&] { write_stream(stream.get(), "x", "out"); }) == ErrorKind::kIo);
  CHECK_NOTHROW(write_stream(stream.get(), "", "out"));
}

TEST_CASE("file: a file that grows past the limit is an error, for writes and for copies") {
  const TempFolder folder;
  put(folder / "in", std::string(5000, 'x'));
  CHECK(result_of_child([&] {
          std::signal(SIGXFSZ, SIG_IGN);
          const rlimit limit{1000, 1000};
          ::setrlimit(RLIMIT_FSIZE, &limit);
          const InputFile in(folder / "in");
          OutputFile copied = output(folder / "copied");
          OutputFile written = output(folder / "written");
          const bool copy_fails = error_of([&] { copy_range(in, 0, copied, 0, 5000, {}); }) == ErrorKind::kIo;
          const std::string message =
              message_of([&] { written.write_at(0, as_bytes(std::string(5000, 'x'))); });
          return copy_fails && message.ends_with("File too large") ? kChildPassed : 1;
        }) == kChildPassed);
}

TEST_CASE("file: a stream gets every byte, and a closed pipe is an error of its own") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const std::string text(300'000, 's');  // more than a pipe holds
  std::string got;
  std::thread reader([&] {
    char buffer[4096];
    for (ssize_t size = 0; (size = ::read(ends[0], buffer, sizeof buffer)) > 0;)
      got.append(buffer, static_cast<std::size_t>(size));
  });
  write_stream(ends[1], text, "out");
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  CHECK(got == text);
  CHECK(result_of_child([] {
          install_signal_handlers();
          int broken[2];
          if (::pipe(broken) != 0) return 1;
          ::close(broken[0]);
          try {
            write_stream(broken[1], "x", "out");
          } catch (const BrokenPipe&) {
            return kChildPassed;
          }
          return 2;
        }) == kChildPassed);
}

TEST_CASE("copy: pieces beyond the kernel's, whole files, nothing at all") {
  const TempFolder folder;
  std::string text(40U << 20, '\0');
  for (std::size_t i = 0; i < text.size(); i += 61) text[i] = static_cast<char>(i >> 6);
  put(folder / "in", text);
  const InputFile in(folder / "in");
  std::uint64_t told = 0;
  const OnBytes tell = [&told](std::uint64_t bytes) { told += bytes; };
  OutputFile range = output(folder / "range");
  copy_range(in, 3, range, 0, text.size() - 3, tell);
  CHECK(told == text.size() - 3);
  CHECK(get(folder / "range") == text.substr(3));
  told = 0;
  OutputFile whole = output(folder / "whole");
  copy_file(in, whole, tell);
  CHECK(told == text.size());
  CHECK(get(folder / "whole") == text);
  put(folder / "empty", "");
  OutputFile nothing = output(folder / "nothing");
  copy_file(InputFile(folder / "empty"), nothing, {});
  CHECK(get(folder / "nothing").empty());
}

TEST_CASE("folder: entries are sorted and have their kinds") {
  const TempFolder folder;
  put(folder / "b", "12345");
  put(folder / "B", "");
  put(folder / ".hidden", "");
  REQUIRE(::mkdir((folder / "sub").c_str(), 0777) == 0);
  REQUIRE(::symlink("b", (folder / "to-file").c_str()) == 0);
  REQUIRE(::symlink("sub", (folder / "to-folder").c_str()) == 0);
  REQUIRE(::symlink("none", (folder / "to-nothing").c_str()) == 0);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0666) == 0);
  const std::vector<FolderEntry> entries = list_folder(folder.path());
  std::string seen;
  for (const FolderEntry& entry : entries) {
    seen += entry.name + (entry.is_link ? "@" : "") + "=" + "fdo"[static_cast<int>(entry.kind)] + " ";
  }
  CHECK(seen == ".hidden=f B=f b=f pipe=o sub=d to-file@=f to-folder@=d to-nothing@=o ");
  CHECK(entries[2].stamp.size == 5);
  CHECK(entries[5].stamp.size == 5);
  CHECK(error_of([&] { list_folder(folder / "none"); }) == ErrorKind::kIo);
  CHECK(error_of([&] { list_folder(folder / "b"); }) == ErrorKind::kIo);
  CHECK_FALSE(exists(folder / "to-nothing"));
  CHECK(is_folder(folder / "to-folder"));
  CHECK_FALSE(is_folder(folder / "b"));
}

TEST_CASE("folder: a tree is removed whole, a missing one is not an error, of a link only the link") {
  const TempFolder folder;
  std::string path = folder / "deep";
  for (int depth = 0; depth < 100; ++depth) {
    REQUIRE(::mkdir(path.c_str(), 0777) == 0);
    put(path + "/file", "x");
    path += "/d";
  }
  remove_tree(folder / "deep");
  remove_tree(folder / "deep");
  CHECK(list_folder(folder.path()).empty());
  REQUIRE(::mkdir((folder / "kept").c_str(), 0777) == 0);
  REQUIRE(::symlink("kept", (folder / "link").c_str()) == 0);
  remove_tree(folder / "link");
  CHECK(is_folder(folder / "kept"));
}

// A tree made on purpose: too deep for the stack of a recursion and for the length of a path.
TEST_CASE("folder: the deepest tree is removed, and half of it is counted") {
  const TempFolder folder;
  constexpr int kDepth = 30'000;
  std::filesystem::create_directory(folder / "deep");
  Fd at(::open((folder / "deep").c_str(), O_RDONLY | O_DIRECTORY));
  for (int depth = 0; depth < kDepth; ++depth) {
    REQUIRE(::mkdirat(at.get(), "d", 0777) == 0);
    at = Fd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY));
  }
  at =
      Fd();  // held open, the last would keep all that is removed above it in the kernel's cache, which walks it each time
  const Fd top(::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY));
  std::uint64_t removed = 0;
  remove_tree_interruptibly_at(top.get(), "deep", folder / "deep", removed);
  CHECK(removed == kDepth + 1);
  CHECK(list_folder(folder.path()).empty());
}

TEST_CASE("folder: paths keep their meaning") {
  const TempFolder folder;
  REQUIRE(::mkdir((folder / "sub").c_str(), 0777) == 0);
  CHECK(is_folder(tidy_path(folder / "sub/..")));
  CHECK(base_name(tidy_path(folder / "sub/.")) == "sub");
  CHECK(base_name(tidy_path(folder / "sub/../")) == base_name(folder.path()));
  CHECK(error_of([&] { tidy_path(folder / "none/."); }) == ErrorKind::kIo);
  CHECK(tidy_path("a/../b") == "a/../b");
  CHECK(tidy_path("///") == "/");
  CHECK(parent_of("/a/b/c") == "/a/b");
  CHECK(parent_of("./a") == ".");
  CHECK(join_path("", "b") == "b");
  CHECK(join_path("/", "b") == "/b");
  CHECK(base_name("/") == "");
}

TEST_CASE("folder: too little space is seen before anything is written") {
  const TempFolder folder;
  CHECK_NOTHROW(require_space(folder.path(), 0));
  CHECK(error_of([&] { require_space(folder.path(), ~std::uint64_t{0}); }) == ErrorKind::kIo);
  CHECK(error_of([&] { require_space(folder / "none", 0); }) == ErrorKind::kIo);
  CHECK_NOTHROW(sync_folder(folder.path()));
  CHECK(error_of([&] { sync_folder(folder / "none"); }) == ErrorKind::kIo);
}

TEST_CASE("lock: one holder at a time, free again when the holder is gone") {
  const TempFolder folder;
  {
    const FileLock lock(folder / "lock");
    CHECK(error_of([&] { FileLock second(folder / "lock"); }) == ErrorKind::kTemporary);
    CHECK(result_of_child([&] {
            return error_of([&] { FileLock second(folder / "lock"); }) == ErrorKind::kTemporary ? kChildPassed
                                                                                                : 1;
          }) == kChildPassed);
  }
  CHECK_NOTHROW(FileLock(folder / "lock"));
  // A holder that is killed leaves no lock behind.
  in_child([&] {
    const FileLock lock(folder / "lock");
    ::raise(SIGKILL);
  });
  CHECK_NOTHROW(FileLock(folder / "lock"));
  CHECK(error_of([&] { FileLock lock(folder / "none/lock"); }) == ErrorKind::kIo);
}

TEST_CASE("interrupt: a signal is noted, unwinds, and ends the process as it would have") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const int status = in_child([signal] {
      install_signal_handlers();
      if (noted_signal(check_interrupt) != 0) ::_exit(1);
      ::raise(signal);
      if (noted_signal(check_interrupt) != signal) ::_exit(2);
      raise_again(signal);
    });
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == signal);
  }
}

TEST_CASE("interrupt: a signal that was ignored before stays ignored") {
  CHECK(result_of_child([] {
          std::signal(SIGHUP, SIG_IGN);
          install_signal_handlers();
          ::raise(SIGHUP);
          return noted_signal(check_interrupt) == 0 ? kChildPassed : 1;
        }) == kChildPassed);
}

TEST_CASE("interrupt: a wait ends with data or with a signal, whichever thread gets it") {
  CHECK(result_of_child([] {
          install_signal_handlers();
          int ends[2];
          if (::pipe(ends) != 0 || ::write(ends[1], "x", 1) != 1) return 1;
          if (noted_signal([&] { wait_readable(ends[0]); }) != 0) return 2;
          int silent[2];
          if (::pipe(silent) != 0) return 3;
          std::thread other([] { ::kill(::getpid(), SIGTERM); });
          const int signal = noted_signal([&] { wait_readable(silent[0]); });
          other.join();
          return signal == SIGTERM ? kChildPassed : 4;
        }) == kChildPassed);
}

TEST_CASE("threads: a signal stops the pieces that have not begun") {
  CHECK(result_of_child([] {
          install_signal_handlers();
          std::atomic<std::size_t> started{0};
          const int signal = noted_signal([&] {
            parallel_for(1'000'000, 3, [&](std::size_t i) {
              ++started;
              if (i == 5) ::raise(SIGINT);
            });
          });
          return signal == SIGINT && started < 1'000'000 ? kChildPassed : 1;
        }) == kChildPassed);
}

TEST_CASE("threads: the first failure is the one that is reported") {
  std::atomic<bool> thrown{false};
  try {
    parallel_for(1000, 4, [&](std::size_t) {
      if (!thrown.exchange(true)) throw refused("first");
    });
    FAIL("no exception");
  } catch (const Error& error) {
    CHECK(error.message() == "first");
  }
}

TEST_CASE("threads: no more than asked for, and as many as this process may use") {
  std::atomic<int> at_once{0};
  std::atomic<int> most{0};
  parallel_for(200, 3, [&](std::size_t) {
    const int now = ++at_once;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    --at_once;
  });
  CHECK(most <= 3);
  parallel_for(3, 0, [](std::size_t) {});
  CHECK(result_of_child([] {
          cpu_set_t one;
          CPU_ZERO(&one);
          CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
          if (::sched_setaffinity(0, sizeof one, &one) != 0) return kChildSkipped;
          return default_thread_count() == 1 ? kChildPassed : 1;
        }) >= kChildPassed);
}

TEST_CASE("file: parked files give their descriptor back and can still be read") {
  const TempFolder dir;
  std::vector<InputFile> files;
  const auto open_count = [] {
    int count = 0;
    for (int fd = 0; fd < 4096; ++fd) count += is_open(fd) ? 1 : 0;
    return count;
  };
  const int before = open_count();
  constexpr std::size_t kFiles = InputFile::kOpenParked + 40;
  for (std::size_t i = 0; i < kFiles; ++i) {
    put(dir / std::to_string(i), "content " + std::to_string(i));
    files.emplace_back(dir / std::to_string(i));
    files.back().park();
  }
  CHECK(open_count() == before);
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < kFiles; ++i) {
      std::string text(files[i].size(), '\0');
      files[i].read_at(0, std::as_writable_bytes(std::span(text)));
      CHECK(text == "content " + std::to_string(i));
    }
  }
  CHECK(open_count() <= before + static_cast<int>(InputFile::kOpenParked));
  // The first one is no longer among the open ones; another file in its place is not the same file.
  put(dir / "other", "content X");
  REQUIRE(std::rename((dir / "other").c_str(), (dir / "0").c_str()) == 0);
  std::byte one{};
  CHECK(message_of([&] { files[0].read_at(0, std::span(&one, 1)); }).find("was replaced") !=
        std::string::npos);
}
