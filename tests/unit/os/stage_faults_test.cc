// SPDX-License-Identifier: Apache-2.0
// Stages when something goes wrong: killed runs, full disks, neighbours that can't be removed, odd targets.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <string>
#include <vector>

#include "base/text.h"
#include "child.h"
#include "os/remove_tree.h"
#include "os/stage.h"
#include "os/stage_name.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

void write(OutputFile file, std::string_view text) {
  file.write_at(0, as_bytes(text));
  file.sync();
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const FolderEntry& entry : list_folder(path)) names.push_back(entry.name);
  return names;
}

using Names = std::vector<std::string>;

// The name of a stage of `target` with some fields of its owner changed; an empty string leaves the field.
std::string stage_of(const std::string& target, StageKind kind, const std::string& host,
                     const std::string& boot, const std::string& space, const std::string& pid,
                     const std::string& start) {
  const std::string own = stage_name(target, kind);
  const std::string mark = kind == StageKind::kStage ? ".mu-stage." : ".mu-aside.";
  const std::size_t owner = own.rfind(mark) + mark.size();
  std::vector<std::string> fields;
  for (const std::string_view field : split(std::string_view(own).substr(owner), '.'))
    fields.emplace_back(field);
  const std::vector<std::string> others = {host, boot, space, pid, start};
  for (std::size_t i = 0; i < others.size(); ++i) {
    if (!others[i].empty()) fields[i] = others[i];
  }
  if (space == "-") fields.erase(fields.begin() + 2);  // as 0.1 did it
  return own.substr(0, owner) + join(fields, ".");
}

void make_old(const std::string& path) {
  const timespec long_ago[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), long_ago, 0) == 0);
}

// Enters a mount namespace of its own and puts a tmpfs of 1 MiB on `path`; false where that is not allowed.
bool mount_small_disk(const std::string& path) {
  const int flags = CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER);
  return ::unshare(flags) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=1m") == 0;
}

void check_child(int result) {
  if (result == kChildSkipped) {
    MESSAGE("not allowed on this machine");
    return;
  }
  CHECK(result == kChildPassed);
}

}  // namespace

TEST_CASE("stage_name: a name is read back as it was made, whatever the target is called") {
  for (const std::string& target :
       {std::string("f"), std::string("model.safetensors"), std::string("a.mu-stage.b"),
        std::string(".x.mu-aside.y.z"), std::string("with blank"), std::string("é"), std::string("..")}) {
    for (const StageKind kind : {StageKind::kStage, StageKind::kAside}) {
      const std::optional<StageName> parsed = parse_stage_name(stage_name(target, kind));
      REQUIRE(parsed.has_value());
      CHECK(parsed->target == target);
      CHECK(parsed->kind == kind);
      CHECK(parsed->owner == StageOwner::kAlive);
      CHECK_FALSE(parsed->judged.has_value());
    }
    const FileId judged{0xfd01, 0x123456789abcdef};
    const std::optional<StageName> gone = parse_stage_name(stage_name(target, StageKind::kGone, judged));
    REQUIRE(gone.has_value());
    CHECK(gone->target == target);
    CHECK(gone->judged == judged);
  }
  // What is to be put back keeps its whole name; no name is longer than a file system allows.
  const std::string longish(120, 'x'), longest(250, 'x');
  CHECK(parse_stage_name(stage_name(longish, StageKind::kGone, FileId{1, 2}))->target == longish);
  CHECK(stage_name(longest, StageKind::kGone, FileId{~dev_t{0}, ~ino_t{0}}).size() <= 255);
  CHECK(parse_stage_name(stage_name(longest, StageKind::kGone, FileId{1, 2})).has_value());
  CHECK(stage_name("f", StageKind::kStage) != stage_name("f", StageKind::kStage));
}

TEST_CASE("stage_name: other names are not stages") {
  for (const char* name : {"", ".", "f", ".f", "f.mu-stage.h.b.1.2", ".f.mu-stage.", ".f.mu-stage.h.b.1",
                           ".f.mu-stage.h.b.1.2.3", ".f.mu-stage.h.b.x.2", ".f.mu-stage.h.b..2",
                           ".f.mu-stage.h.b.+1.2", ".f.mu-stage.h.b.nsx.1.2", ".f.mu-gone.h.b.ns1.1.2.",
                           ".f.mu-gone.h.b.ns1.1.2.3", ".f.mu-gone.h.b.ns1.1.2.3-g",
                           ".f.mu-gone.h.b.ns1.1.2.3-4.5", ".f.mu-staged.h.b.1.2", ".f.MU-STAGE.h.b.1.2"}) {
    CAPTURE(name);
    CHECK_FALSE(parse_stage_name(name).has_value());
  }
}

TEST_CASE("stage: only stages of owners that can't be alive are removed") {
  struct Row {
    const char* host;
    const char* boot;
    const char* space;
    const char* pid;
    const char* start;
    bool old;
    bool stays;
  };
  const Row rows[] = {
      {"", "", "", "", "", false, true},                     // this process
      {"", "", "", "", "", true, true},                      // this process, at work for long
      {"", "", "", "", "1", false, false},                   // our number, another process
      {"", "", "", "999999999", "1", false, false},          // no such process
      {"", "0badcafe", "", "", "", false, false},            // before the last boot
      {"", "", "", "", "0", false, false},                   // start not known
      {"", "", "ns1", "", "1", false, true},                 // another container, today
      {"", "", "ns1", "", "1", true, false},                 // another container, long ago
      {"", "", "ns0", "", "1", false, true},                 // a system that names no namespaces
      {"", "", "-", "999999999", "1", false, true},          // 0.1, today
      {"", "", "-", "999999999", "1", true, false},          // 0.1, long ago
      {"elsewhere", "", "", "", "", false, true},            // another machine, today
      {"elsewhere", "0badcafe", "", "7", "1", false, true},  //
      {"elsewhere", "", "", "", "", true, false},            // another machine, long ago
  };
  for (const Row& row : rows) {
    for (const bool is_folder : {false, true}) {
      const TempFolder folder;
      const std::string path =
          folder / stage_of("f", StageKind::kStage, row.host, row.boot, row.space, row.pid, row.start);
      CAPTURE(path);
      if (is_folder) {
        REQUIRE(::mkdir(path.c_str(), 0777) == 0);
        put(path + "/part", "x");
      } else {
        put(path, "x");
      }
      if (row.old) make_old(path);
      clean_stale_stages(folder.path());
      CHECK((names_in(folder.path()).size() == 1) == row.stays);
    }
  }
}

TEST_CASE("stage: a folder aside comes back only when its place is free") {
  const TempFolder folder;
  const std::string aside = stage_of("d", StageKind::kAside, "", "0badcafe", "", "", "");
  for (const bool is_free : {true, false}) {
    REQUIRE(::mkdir((folder / aside).c_str(), 0777) == 0);
    put(folder / aside + "/f", is_free ? "first" : "second");
    clean_stale_stages(folder.path());
    CHECK(names_in(folder.path()) == Names{"d"});
    CHECK(get(folder / "d/f") == "first");
  }
  // The stage of a process at work is left alone.
  REQUIRE(::mkdir((folder / stage_of("e", StageKind::kAside, "", "", "", "", "")).c_str(), 0777) == 0);
  clean_stale_stages(folder.path());
  CHECK_FALSE(exists(folder / "e"));
}

TEST_CASE("stage: the next run cleans up, beside its target and in it") {
  const TempFolder folder;
  const std::string stale = stage_of("f", StageKind::kStage, "", "0badcafe", "", "", "");
  put(folder / stale, "x");
  { StagedFile staged(folder / "other", false); }
  CHECK(names_in(folder.path()).empty());
  REQUIRE(::mkdir((folder / "d").c_str(), 0777) == 0);
  put(folder / stale, "x");
  put(folder / "d/" + stale, "x");
  StagedFolder staged(folder / "d", false);  // empty except for what a killed run left
  write(staged.create("x"), "x");
  staged.commit({});
  CHECK(names_in(folder.path()) == Names{"d"});
  CHECK(names_in(folder / "d") == Names{"x"});
}

// A folder that many users write to (a common scratch disk) holds what other users' killed runs left.
TEST_CASE("stage: a stale stage that can't be removed does not stop the next run") {
  const TempFolder folder;
  const std::string stale = folder / stage_of("theirs", StageKind::kStage, "", "0badcafe", "", "", "");
  REQUIRE(::mkdir(stale.c_str(), 0777) == 0);
  put(stale + "/part", "x");
  ::chmod(stale.c_str(), 0555);
  ::chmod(folder.path().c_str(), 01777);
  const int result = result_of_child([&] {
    if (::geteuid() == 0 && (::setegid(65534) != 0 || ::seteuid(65534) != 0)) return kChildSkipped;
    StagedFile staged(folder / "mine", false);
    staged.commit();
    return kChildPassed;
  });
  ::chmod(stale.c_str(), 0755);
  CHECK(result == kChildPassed);
  CHECK(exists(folder / "mine"));
}

// 255 bytes are a name on every Linux file system; a stage's name is longer than its target's.
TEST_CASE("stage: a target may have the longest name there is") {
  const TempFolder folder;
  const std::string name(255, 'n');
  StagedFile staged(folder / name, false);
  staged.commit();
  CHECK(names_in(folder.path()) == Names{name});
}

TEST_CASE("stage: odd targets are refused before anything is written") {
  const TempFolder folder;
  put(folder / "file", "x");
  REQUIRE(::mkdir((folder / "d").c_str(), 0777) == 0);
  put(folder / "d/x", "x");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0666) == 0);
  REQUIRE(::symlink("none", (folder / "broken").c_str()) == 0);
  REQUIRE(::symlink("d", (folder / "link").c_str()) == 0);
  const Names before = names_in(folder.path());
  for (const bool force : {false, true}) {
    CHECK(error_of([&] { StagedFile staged(folder / "pipe", force); }) == ErrorKind::kRefused);
    CHECK(error_of([&] { StagedFile staged(folder / "d", force); }) == ErrorKind::kRefused);
    CHECK(error_of([&] { StagedFile staged(folder / "d/", force); }) == ErrorKind::kRefused);
    CHECK(error_of([&] { StagedFile staged(folder / "link", force); }) == ErrorKind::kRefused);
    CHECK(error_of([&] { StagedFile staged(folder / "broken", force); }) == ErrorKind::kIo);
    CHECK(error_of([&] { StagedFile staged(folder / "file/f", force); }) == ErrorKind::kIo);
    CHECK(error_of([&] { StagedFolder staged(folder / "file", force); }) == ErrorKind::kRefused);
    CHECK(error_of([&] { StagedFolder staged(folder / "pipe", force); }) == ErrorKind::kRefused);
    CHECK(error_of([&] { StagedFolder staged(folder / "broken", force); }) == ErrorKind::kIo);
    CHECK(error_of([&] { StagedFolder staged(folder / "file/d", force); }) == ErrorKind::kIo);
  }
  CHECK(error_of([&] { StagedFolder staged(folder / "link", false); }) == ErrorKind::kRefused);
  CHECK(names_in(folder.path()) == before);
}

TEST_CASE("stage: a link to a folder stays a link, what it points to is replaced") {
  const TempFolder folder;
  REQUIRE(::mkdir((folder / "d").c_str(), 0777) == 0);
  put(folder / "d/old", "x");
  REQUIRE(::symlink("d", (folder / "link").c_str()) == 0);
  StagedFolder staged(folder / "link", true);
  write(staged.create("new"), "x");
  staged.commit({"old"});
  CHECK(names_in(folder / "d") == Names{"new"});
  CHECK(names_in(folder.path()) == Names{"d", "link"});
  CHECK(list_folder(folder.path())[1].is_link);
}

TEST_CASE("stage: a folder that appears meanwhile is not replaced unless it is empty") {
  for (const bool filled : {true, false}) {
    const TempFolder folder;
    {
      StagedFolder staged(folder / "d", false);
      write(staged.create("mine"), "x");
      REQUIRE(::mkdir((folder / "d").c_str(), 0777) == 0);
      if (filled) {
        put(folder / "d/theirs", "x");
        CHECK(error_of([&] { staged.commit({}); }) == ErrorKind::kRefused);
      } else {
        staged.commit({});
      }
    }
    CHECK(names_in(folder.path()) == Names{"d"});
    CHECK(names_in(folder / "d") == Names{filled ? "theirs" : "mine"});
  }
}

TEST_CASE("stage: with force it does not matter if the target vanished or appeared meanwhile") {
  const TempFolder folder;
  put(folder / "f", "old");
  StagedFile vanished(folder / "f", true);
  remove_tree(folder / "f");
  vanished.commit();
  CHECK(get(folder / "f").empty());
  StagedFile appeared(folder / "g", true);
  put(folder / "g", "theirs");
  appeared.commit();
  CHECK(get(folder / "g").empty());
}

TEST_CASE("stage: kept files are the same files, and what can't be kept is an error") {
  const TempFolder folder;
  REQUIRE(::mkdir((folder / "d").c_str(), 0777) == 0);
  put(folder / "d/kept", "kept");
  REQUIRE(::symlink("kept", (folder / "d/link").c_str()) == 0);
  const FileId before = InputFile(folder / "d/kept").id();
  StagedFolder staged(folder / "d", true);
  write(staged.create("new"), "x");
  staged.keep("kept");
  staged.keep("link");
  CHECK(error_of([&] { staged.keep("none"); }) == ErrorKind::kIo);
  staged.commit({});
  CHECK(InputFile(folder / "d/kept").id() == before);
  CHECK(list_folder(folder / "d")[1].is_link);
  CHECK(names_in(folder / "d") == Names{"kept", "link", "new"});
}

TEST_CASE("stage: a name is created once") {
  const TempFolder folder;
  StagedFolder staged(folder / "d", false);
  write(staged.create("sub/x"), "x");
  CHECK(error_of([&] { staged.create("sub/x"); }) == ErrorKind::kIo);
  CHECK(error_of([&] { staged.create(std::string("a\0b", 3)); }) == ErrorKind::kRefused);
  write(staged.create("sub/y"), "y");
  staged.commit({});
  CHECK(names_in(folder / "d/sub") == Names{"x", "y"});
}

TEST_CASE("stage: an exception removes the stage, whatever it holds") {
  const TempFolder folder;
  try {
    StagedFolder staged(folder / "d", false);
    write(staged.create("sub/x"), "x");
    write(staged.create("y"), "x");
    throw refused("no");
  } catch (const Error&) {
  }
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("stage: killed at any moment, the folder is the old one or the new one, never a mixture") {
  std::mt19937 random(17);
  for (const bool exchange : {true, false}) {
    for (int round = 0; round < 25; ++round) {
      const TempFolder folder;
      REQUIRE(::mkdir((folder / "d").c_str(), 0777) == 0);
      put(folder / "d/a", "0");
      put(folder / "d/b", "0");
      int ends[2];
      REQUIRE(::pipe(ends) == 0);
      const pid_t pid = ::fork();
      if (pid == 0) {
        disable_exchange_for_tests(!exchange);
        for (int version = 1;; ++version) {
          StagedFolder staged(folder / "d", true);
          write(staged.create("a"), std::to_string(version));
          write(staged.create("b"), std::to_string(version));
          if (::write(ends[1], "x", 1) != 1) ::_exit(1);
          staged.commit({});
        }
      }
      // It is about to commit for the n-th time; how far it gets is chance.
      for (unsigned long i = 1 + random() % 3; i > 0; --i) {
        char token = 0;
        REQUIRE(::read(ends[0], &token, 1) == 1);
      }
      for (unsigned long i = random() % 400; i > 0; --i) ::sched_yield();
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      ::close(ends[0]);
      ::close(ends[1]);
      clean_stale_stages(folder.path());
      CHECK(names_in(folder.path()) == Names{"d"});
      CHECK(names_in(folder / "d") == Names{"a", "b"});
      CHECK(get(folder / "d/a") == get(folder / "d/b"));
    }
  }
}

TEST_CASE("stage: a full disk is an error that leaves the old file and no stage") {
  const TempFolder folder;
  check_child(result_of_child([&] {
    if (!mount_small_disk(folder.path())) return kChildSkipped;
    put(folder / "f", "old");
    const bool fails = error_of([&] {
                         StagedFile staged(folder / "f", true);
                         staged.file().write_at(0, as_bytes(std::string(2U << 20, 'x')));
                         staged.commit();
                       }) == ErrorKind::kIo;
    const bool no_space = error_of([&] { require_space(folder.path(), 2U << 20); }) == ErrorKind::kIo;
    return fails && no_space && get(folder / "f") == "old" && names_in(folder.path()) == Names{"f"}
               ? kChildPassed
               : 1;
  }));
}

TEST_CASE("stage: a mount point keeps its place and gets its files one by one") {
  const TempFolder folder;
  check_child(result_of_child([&] {
    if (!mount_small_disk(folder.path())) return kChildSkipped;
    put(folder / "kept", "kept");
    put(folder / "old", "old");
    put(folder / "both", "old");
    struct stat before {};
    ::stat(folder.path().c_str(), &before);
    if (error_of([&] { StagedFolder staged(folder.path(), false); }) != ErrorKind::kRefused) return 2;
    { StagedFolder abandoned(folder.path(), true); }
    if (names_in(folder.path()) != Names{"both", "kept", "old"}) return 3;
    StagedFolder staged(folder.path(), true);
    write(staged.create("both"), "new");
    write(staged.create("sub/x"), "new");
    staged.keep("kept");
    if (get(folder / "both") != "old") return 4;
    staged.commit({"old", "both"});
    struct stat after {};
    ::stat(folder.path().c_str(), &after);
    if (before.st_ino != after.st_ino || before.st_dev != after.st_dev) return 5;
    if (names_in(folder.path()) != Names{"both", "kept", "sub"}) return 6;
    return get(folder / "both") == "new" && get(folder / "sub/x") == "new" ? kChildPassed : 7;
  }));
}
