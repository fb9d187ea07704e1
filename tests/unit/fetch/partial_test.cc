// SPDX-License-Identifier: Apache-2.0
#include "fetch/partial.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "base/text.h"
#include "child.h"
#include "fetch/partial_record.h"
#include "os/stage_name.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

using Lines = std::vector<std::string>;

// Sets the time of a file so many seconds back from now.
void make_older(const std::string& path, std::int64_t seconds) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  const timespec time{::time(nullptr) - seconds, 0};
  const timespec times[] = {time, time};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

// Does `work` with a partial output in a process of its own, which is killed then.
template <typename Work>
void killed_after(const std::string& target, const std::string& identity, Work work) {
  const int status = in_child([&] {
    PartialOutput partial(target, identity, false);
    work(partial);
    ::raise(SIGKILL);
  });
  REQUIRE((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
}

// A run that notes `lines` and puts a file into the work, and is killed.
void killed_run(const std::string& target, const std::string& identity, const Lines& lines) {
  killed_after(target, identity, [&](PartialOutput& partial) {
    put(join_path(partial.path(), "output"), "half");
    for (const std::string& line : lines) partial.note(line);
  });
}

// Changes the owner line of a record that nobody holds.
void set_owner(const std::string& record, const PartialOwner& owner) {
  PartialRecord changed = parse_record(get(record));
  changed.owner = owner;
  put(record, record_text(changed));
}

// Locks of other processes are not waited for while it lives.
struct Impatient {
  Impatient() { wait_for_locks_for_tests(std::chrono::milliseconds(0)); }
  ~Impatient() { wait_for_locks_for_tests(std::chrono::milliseconds(2000)); }
};

std::string message_of(const std::string& target, const std::string& identity) {
  try {
    PartialOutput partial(target, identity, false);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("partial: lies beside the output, holds what was noted, and goes when it is removed") {
  const TempFolder folder;
  PartialOutput partial(folder / "out", "a", false);
  CHECK(partial.lines().empty());
  CHECK(PartialOutput::path_of(folder / "out") == folder / "out.partial");
  CHECK(partial.path().starts_with(folder / "out.partial/"));
  CHECK(is_folder(partial.path()));
  CHECK(partial.bytes() == 0);
  put(join_path(partial.path(), "output"), std::string(100'000, 'x'));
  CHECK(partial.bytes() >= 100'000);
  partial.remove();
  CHECK(list_folder(folder.path()).empty());
}

TEST_CASE("partial: what a killed run noted is there for the next of the same identity, and its files are") {
  const TempFolder folder;
  killed_run(folder / "out", "a\n\\b", {"one", "two words", ""});
  for (int run = 0; run < 2; ++run) {  // also when it is left again
    const PartialOutput partial(folder / "out", "a\n\\b", false);
    CHECK(partial.lines() == Lines{"one", "two words", ""});
    CHECK(get(join_path(partial.path(), "output")) == "half");
  }
  PartialOutput partial(folder / "out", "a\n\\b", false);
  partial.note("three");
  CHECK(partial.lines() == Lines{"one", "two words", ""});
}

TEST_CASE("partial: of another identity, or afresh, nothing is left and the folder has another name") {
  const TempFolder folder;
  std::string before;
  {
    PartialOutput partial(folder / "out", "a", false);
    partial.note("one");
    before = partial.path();
    put(join_path(before, "output"), "half");
  }
  SUBCASE("other identity") {
    const PartialOutput partial(folder / "out", "a\\n", false);
    CHECK(partial.lines().empty());
    CHECK(partial.path() != before);
  }
  SUBCASE("afresh") {
    const PartialOutput partial(folder / "out", "a", true);
    CHECK(partial.lines().empty());
    CHECK(partial.path() != before);
  }
  SUBCASE("restart") {
    PartialOutput partial(folder / "out", "a", false);
    CHECK(partial.path() == before);
    partial.restart();
    CHECK(partial.lines().empty());
    CHECK(partial.path() != before);
    partial.note("again");
    CHECK(parse_record(get(folder / "out.partial/record")).steps == Lines{"again"});
  }
  CHECK_FALSE(exists(before));
  CHECK(list_folder(folder / "out.partial").size() == 3);
}

TEST_CASE("partial: a second run ends as long as the first one holds it, and says who does") {
  const TempFolder folder;
  const Impatient impatient;
  {
    PartialOutput partial(folder / "out", "a", false);
    CHECK(error_of([&] { PartialOutput(folder / "out", "a", false); }) == ErrorKind::kTemporary);
    CHECK(error_of([&] { PartialOutput(folder / "out", "b", true); }) == ErrorKind::kTemporary);
    CHECK(error_of([&] { PartialOutput::require_free(folder / "out"); }) == ErrorKind::kTemporary);
    const std::string message = message_of(folder / "out", "a");
    CHECK(message.find("is in use by a run on " + this_host()) != std::string::npos);
    CHECK(message.find("wait until that run has ended") != std::string::npos);
    partial.note("still ours");
  }
  PartialOutput::require_free(folder / "out");
  PartialOutput::require_free(folder / "other");
  CHECK(list_folder(folder.path()).size() == 1);
  CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"still ours"});
}

TEST_CASE("partial: a run of this kernel that is dead is not waited for, one of another is for two minutes") {
  const TempFolder folder;
  const std::string record = folder / "out.partial/record";
  killed_run(folder / "out", "a", {"one"});
  SUBCASE("here") {
    CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one"});
  }
  SUBCASE("elsewhere") {
    set_owner(record, {random_id(), "12345678", "node7", true});
    make_older(record, 100);
    CHECK(message_of(folder / "out", "a").find("node7, which touched it 10") != std::string::npos);
    make_older(record, 125);
    CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one"});
  }
  SUBCASE("here, but without a lock of the kernel") {
    set_owner(record, {random_id(), this_boot(), this_host(), false});
    CHECK(error_of([&] { PartialOutput(folder / "out", "a", false); }) == ErrorKind::kTemporary);
    make_older(record, 125);
    CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one"});
  }
  SUBCASE("of another identity") {
    set_owner(record, {random_id(), "12345678", "node7", true});
    CHECK(error_of([&] { PartialOutput(folder / "out", "b", true); }) == ErrorKind::kTemporary);
    CHECK(parse_record(get(record)).steps == Lines{"one"});
    make_older(record, -1000);  // in the future: no live holder leaves it so
    CHECK(PartialOutput(folder / "out", "b", false).lines().empty());
  }
}

TEST_CASE("partial: a holder that is about to end is waited for") {
  const TempFolder folder;
  std::optional<PartialOutput> first(std::in_place, folder / "out", "a", false);
  first->note("one");
  std::thread ending([&] { first.reset(); });
  CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one"});
  ending.join();
}

TEST_CASE("partial: one that ended by itself is free for all machines") {
  const TempFolder folder;
  const std::string record = folder / "out.partial/record";
  {
    PartialOutput partial(folder / "out", "a", false);
    partial.note("one");
  }
  PartialRecord left = parse_record(get(record));
  CHECK(left.given_up);
  left.owner = {random_id(), "12345678", "node7", true};
  put(record, record_text(left) + given_up_line());
  CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one"});
}

TEST_CASE("partial: a run that stood still for two minutes loses it, and harms nothing when it wakes up") {
  const TempFolder folder;
  PartialOutput sleeper(folder / "out", "a", false);
  sleeper.note("one");
  make_older(folder / "out.partial/record", 125);
  SUBCASE("to a run of the same identity") {
    PartialOutput heir(folder / "out", "a", false);
    CHECK(heir.lines() == Lines{"one"});
    CHECK(heir.path() == sleeper.path());
    CHECK(error_of([&] { sleeper.note("two"); }) == ErrorKind::kTemporary);
    CHECK(error_of([&] { sleeper.require_held(); }) == ErrorKind::kTemporary);
    CHECK(error_of([&] { sleeper.restart(); }) == ErrorKind::kTemporary);
    sleeper.remove();
    heir.note("three");
    CHECK(parse_record(get(folder / "out.partial/record")).steps == Lines{"one", "three"});
  }
  SUBCASE("to a run of another identity") {
    const PartialOutput heir(folder / "out", "b", false);
    CHECK_FALSE(exists(sleeper.path()));
    CHECK(error_of([&] { sleeper.note("two"); }) == ErrorKind::kTemporary);
    CHECK(is_folder(heir.path()));
  }
  SUBCASE("to one that is removed then") {
    PartialOutput(folder / "out", "a", false).remove();
    CHECK(error_of([&] { sleeper.note("two"); }) == ErrorKind::kTemporary);
    sleeper.remove();
    CHECK(list_folder(folder.path()).empty());
  }
}

TEST_CASE("partial: a line that was cut or mixed ends the record, and is gone after the next run") {
  const TempFolder folder;
  const std::string record = folder / "out.partial/record";
  killed_run(folder / "out", "a", {"one", "two", "three"});
  const std::string whole = get(record), last = step_line("three");
  SUBCASE("cut at every byte") {
    for (std::size_t cut = 1; cut <= last.size(); ++cut) {
      put(record, whole.substr(0, whole.size() - cut));
      CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one", "two"});
    }
  }
  SUBCASE("mixed") {
    std::string mixed = whole;
    mixed.insert(whole.size() - last.size() - 5, "step x ");
    put(record, mixed);
    CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one"});
  }
  SUBCASE("another line behind a cut one") {
    put(record, whole.substr(0, whole.size() - 9) + step_line("four"));
    CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one", "two"});
  }
  const std::string text = get(record);
  CHECK(text.find("three") == std::string::npos);
  CHECK(parse_record(text).given_up);
}

TEST_CASE("partial: a run that is killed while it claims leaves something that the next one continues") {
  const TempFolder folder;
  const std::string place = folder / "out.partial";
  SUBCASE("before there is a record") {
    ::mkdir(place.c_str(), 0777);
    SUBCASE("or a lock") {}
    SUBCASE("but a lock") {
      put(place + "/lock", "");
    }
    SUBCASE("but half of one") {
      put(place + "/next." + random_id(), "begin");
    }
    CHECK(PartialOutput(folder / "out", "a", false).lines().empty());
  }
  SUBCASE("after it seized the record") {
    killed_run(folder / "out", "a", {"one"});
    const std::string seized = place + "/record." + random_id();
    REQUIRE(::rename((place + "/record").c_str(), seized.c_str()) == 0);
    put(place + "/next." + random_id(), "begin");
    CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one"});
  }
  SUBCASE("before the folder of the work is there") {
    killed_run(folder / "out", "a", {"one"});
    remove_tree(join_path(place, parse_record(get(place + "/record")).id));
    CHECK(PartialOutput(folder / "out", "a", false).lines().empty());
  }
  CHECK(list_folder(place).size() == 3);
}

TEST_CASE("partial: what no run made is refused and stays") {
  const TempFolder folder, other;
  const std::string place = folder / "out.partial";
  put(other / "file", "precious");
  SUBCASE("a file") {
    put(place, "precious");
  }
  SUBCASE("a link") {
    REQUIRE(::symlink(other.path().c_str(), place.c_str()) == 0);
  }
  SUBCASE("a link that leads nowhere") {
    REQUIRE(::symlink("nowhere", place.c_str()) == 0);
  }
  SUBCASE("a folder of files") {
    ::mkdir(place.c_str(), 0777);
    put(place + "/file", "precious");
  }
  SUBCASE("a folder with a record that is not ours") {
    ::mkdir(place.c_str(), 0777);
    put(place + "/record", "my records\n");
    put(place + "/file", "precious");
  }
  SUBCASE("a folder whose record is a link") {
    ::mkdir(place.c_str(), 0777);
    REQUIRE(::symlink((other / "file").c_str(), (place + "/record").c_str()) == 0);
  }
  SUBCASE("a folder whose lock is a pipe") {
    ::mkdir(place.c_str(), 0777);
    REQUIRE(::mkfifo((place + "/lock").c_str(), 0666) == 0);
  }
  CHECK(error_of([&] { PartialOutput::require_free(folder / "out"); }) == ErrorKind::kRefused);
  CHECK(error_of([&] { PartialOutput(folder / "out", "a", true); }) == ErrorKind::kRefused);
  struct stat status {};
  CHECK(::lstat(place.c_str(), &status) == 0);
  CHECK(get(other / "file") == "precious");
  CHECK(list_folder(other.path()).size() == 1);
  if (S_ISDIR(status.st_mode) && exists(place + "/file")) CHECK(list_folder(place).size() <= 2);
}

TEST_CASE("partial: a damaged record makes it start anew, and links in it are not followed") {
  const TempFolder folder, other;
  const std::string record = folder / "out.partial/record";
  put(other / "file", "precious");
  killed_after(folder / "out", "a", [&](PartialOutput& partial) {
    partial.note("one");
    if (::symlink(other.path().c_str(), join_path(partial.path(), "link").c_str()) != 0) ::_exit(1);
  });
  put(record, "x" + get(record));
  make_older(record, 125);
  CHECK(PartialOutput(folder / "out", "a", false).lines().empty());
  CHECK(list_folder(folder / "out.partial").size() == 3);
  CHECK(get(other / "file") == "precious");
}

TEST_CASE("partial: the name fits where that of the output does") {
  const std::string base(255, 'n');
  CHECK(base_name(PartialOutput::path_of("/d/" + base)).size() == 255);
  CHECK(PartialOutput::path_of("/d/" + base) != PartialOutput::path_of("/d/" + base.substr(1) + "m"));
  CHECK(PartialOutput::path_of("out") == "out.partial");
  CHECK(PartialOutput::path_of("/d/" + std::string(247, 'n')) == "/d/" + std::string(247, 'n') + ".partial");
  std::string wide = "x";
  while (wide.size() < 255) wide += "\xc3\xa4";
  CHECK_FALSE(find_invalid_utf8(PartialOutput::path_of("/d/" + wide)));
  const TempFolder folder;
  killed_run(folder / base, "a", {"one"});
  CHECK(PartialOutput(folder / base, "a", false).lines() == Lines{"one"});
}

TEST_CASE("partial: a full disk leaves a record without half a line") {
  const TempFolder folder;
  const int result = result_of_child([&] {
    PartialOutput partial(folder / "out", "a", false);
    partial.note("one");
    std::signal(SIGXFSZ, SIG_IGN);
    const auto size = static_cast<rlim_t>(get(folder / "out.partial/record").size());
    const rlimit limit{size + 10, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return kChildSkipped;
    if (error_of([&] { partial.note("two"); }) != ErrorKind::kIo) return 1;
    const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &none) != 0) return kChildSkipped;
    partial.note("three");
    return kChildPassed;
  });
  if (result == kChildSkipped) return;
  CHECK(result == kChildPassed);
  CHECK(PartialOutput(folder / "out", "a", false).lines() == Lines{"one", "three"});
}

TEST_CASE("partial: room is asked for what is not written yet") {
  const TempFolder folder;
  PartialOutput partial(folder / "out", "a", false);
  partial.require_room(1000);
  CHECK(error_of([&] { partial.require_room(1ULL << 60); }) == ErrorKind::kIo);
}

TEST_CASE("partial: a folder that can't be written is an error of the disk; another user's is refused") {
  if (::geteuid() != 0) return;
  const TempFolder folder;
  REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
  const auto as_nobody = [&](const std::string& name, ErrorKind expected) {
    return result_of_child([&] {
      if (::setgid(65534) != 0 || ::setuid(65534) != 0) return kChildSkipped;
      return error_of([&] { PartialOutput(folder / name, "a", false); }) == expected ? kChildPassed : 1;
    });
  };
  const int closed = as_nobody("out", ErrorKind::kIo);
  killed_run(folder / "out", "a", {"one"});
  REQUIRE(::chmod((folder / "out.partial").c_str(), 0777) == 0);
  const int foreign = as_nobody("out", ErrorKind::kRefused);
  CHECK((closed == kChildPassed || closed == kChildSkipped));
  CHECK((foreign == kChildPassed || foreign == kChildSkipped));
  CHECK(list_folder(folder / "out.partial").size() == 3);
}
