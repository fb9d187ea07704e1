// SPDX-License-Identifier: Apache-2.0
#include "os/stage.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "child.h"
#include "os/remove_tree.h"
#include "os/stage_name.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

void write(OutputFile& file, std::string_view text) {
  file.write_at(0, as_bytes(text));
}

void write(OutputFile&& file, std::string_view text) {
  write(file, text);
}

std::size_t entries(const TempFolder& folder) {
  return list_folder(folder.path()).size();
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  ::stat(path.c_str(), &status);
  return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("stage: a file is there whole after commit and not at all before") {
  const TempFolder folder;
  {
    StagedFile staged(folder / "f", false);
    write(staged.file(), "text");
    CHECK_FALSE(exists(folder / "f"));
    staged.commit();
  }
  CHECK(get(folder / "f") == "text");
  CHECK(entries(folder) == 1);
}

TEST_CASE("stage: without commit nothing stays") {
  const TempFolder folder;
  { StagedFile staged(folder / "f", false); }
  { StagedFolder staged(folder / "d", false); }
  CHECK(entries(folder) == 0);
}

TEST_CASE("stage: an existing file needs force, keeps its mode and follows a link") {
  const TempFolder folder;
  put(folder / "f", "old");
  ::chmod((folder / "f").c_str(), 0640);
  REQUIRE(::symlink("f", (folder / "link").c_str()) == 0);
  CHECK(error_of([&] { StagedFile staged(folder / "f", false); }) == ErrorKind::kRefused);
  CHECK(error_of([&] { StagedFile staged(folder / "link", false); }) == ErrorKind::kRefused);
  StagedFile staged(folder / "link", true);
  write(staged.file(), "new");
  CHECK(get(folder / "f") == "old");
  staged.commit();
  CHECK(get(folder / "f") == "new");
  CHECK(mode_of(folder / "f") == 0640);
}

TEST_CASE("stage: a file that appears meanwhile is not overwritten") {
  const TempFolder folder;
  StagedFile staged(folder / "f", false);
  write(staged.file(), "mine");
  put(folder / "f", "theirs");
  CHECK(error_of([&] { staged.commit(); }) == ErrorKind::kRefused);
  CHECK(get(folder / "f") == "theirs");
}

TEST_CASE("stage: devices, folders and missing parents are refused") {
  const TempFolder folder;
  CHECK(error_of([] { StagedFile staged("/dev/null", true); }) == ErrorKind::kRefused);
  CHECK(error_of([&] { StagedFile staged(folder.path(), true); }) == ErrorKind::kRefused);
  CHECK(error_of([&] { StagedFile staged(folder / "no/f", false); }) == ErrorKind::kIo);
  CHECK(error_of([&] { StagedFolder staged(folder / "no/d", false); }) == ErrorKind::kIo);
}

TEST_CASE("stage: modes follow the umask") {
  const TempFolder folder;
  const mode_t before = ::umask(027);
  StagedFile file(folder / "f", false);
  file.commit();
  StagedFolder staged(folder / "d", false);
  staged.create("x").sync();
  staged.commit({});
  ::umask(before);
  CHECK(mode_of(folder / "f") == 0640);
  CHECK(mode_of(folder / "d") == 0750);
  CHECK(mode_of(folder / "d/x") == 0640);
}

TEST_CASE("stage: a folder takes the place of a missing or an empty one") {
  const TempFolder folder;
  for (const bool empty_before : {false, true}) {
    const std::string target = folder / (empty_before ? "e" : "m");
    if (empty_before) REQUIRE(::mkdir(target.c_str(), 0777) == 0);
    StagedFolder staged(target + "/", false);
    OutputFile file = staged.create("sub/f");
    write(file, "x");
    staged.commit({});
    CHECK(get(target + "/sub/f") == "x");
  }
  CHECK(entries(folder) == 2);
}

TEST_CASE("stage: a full folder needs force and is exchanged as one") {
  for (const bool exchange : {true, false}) {
    CAPTURE(exchange);
    const TempFolder folder;
    REQUIRE(::mkdir((folder / "d").c_str(), 0750) == 0);
    ::chmod((folder / "d").c_str(), 0750);
    put(folder / "d/kept", "kept");
    put(folder / "d/old", "old");
    CHECK(error_of([&] { StagedFolder staged(folder / "d", false); }) == ErrorKind::kRefused);
    disable_exchange_for_tests(!exchange);
    StagedFolder staged(folder / "d", true);
    OutputFile file = staged.create("new");
    write(file, "new");
    staged.keep("kept");
    CHECK(exists(folder / "d/old"));
    staged.commit({"old"});
    disable_exchange_for_tests(false);
    CHECK(get(folder / "d/new") == "new");
    CHECK(get(folder / "d/kept") == "kept");
    CHECK_FALSE(exists(folder / "d/old"));
    CHECK(mode_of(folder / "d") == 0750);
    CHECK(entries(folder) == 1);
  }
}

TEST_CASE("stage: what appeared in a folder while it was replaced is not lost") {
  for (const bool exchange : {true, false}) {
    CAPTURE(exchange);
    const TempFolder folder;
    std::filesystem::create_directories(folder / "d/sub");
    put(folder / "d/kept", "kept");
    put(folder / "d/old", "old");
    put(folder / "d/sub/old", "old");
    disable_exchange_for_tests(!exchange);
    StagedFolder staged(folder / "d", true);
    write(staged.create("new"), "new");
    write(staged.create("sub/new"), "new");
    staged.keep("kept");
    put(folder / "d/notes", "theirs");
    put(folder / "d/sub/notes", "theirs");
    std::filesystem::create_directory(folder / "d/logs");
    put(folder / "d/logs/1", "theirs");
    put(folder / "d/kept", "kept and changed");
    staged.commit({"old", "sub"});
    disable_exchange_for_tests(false);
    CHECK(entries(folder) == 1);
    CHECK(get(folder / "d/new") == "new");
    CHECK(get(folder / "d/kept") == "kept and changed");
    CHECK(get(folder / "d/notes") == "theirs");
    CHECK(get(folder / "d/sub/notes") == "theirs");
    CHECK(get(folder / "d/logs/1") == "theirs");
    CHECK_FALSE(exists(folder / "d/old"));
    CHECK_FALSE(exists(folder / "d/sub/old"));
  }
}

TEST_CASE("stage: what appeared meanwhile under a name of ours stays beside, in sight") {
  for (const bool exchange : {true, false}) {
    CAPTURE(exchange);
    const TempFolder folder;
    std::filesystem::create_directory(folder / "d");
    std::filesystem::create_directory(folder / "d.old");  // taken
    put(folder / "d/config", "old");
    put(folder / "d/gone", "old");
    disable_exchange_for_tests(!exchange);
    StagedFolder staged(folder / "d", true);
    write(staged.create("config"), "new");
    write(staged.create("weights"), "new");
    put(folder / "x", "theirs");
    std::filesystem::rename(folder / "x", folder / "d/config");  // as editors save
    put(folder / "d/weights", "theirs");                         // was not there before
    CHECK(error_of([&] { staged.commit({"gone"}); }) == ErrorKind::kPartial);
    disable_exchange_for_tests(false);
    CHECK(get(folder / "d/config") == "new");
    CHECK(get(folder / "d/weights") == "new");
    CHECK_FALSE(exists(folder / "d/gone"));
    CHECK(get(folder / "d.old.2/config") == "theirs");
    CHECK(get(folder / "d.old.2/weights") == "theirs");
    CHECK_FALSE(exists(folder / "d.old.2/gone"));
    CHECK(entries(folder) == 3);
  }
}

TEST_CASE("stage: without force a folder that is no longer empty stays as it is") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "d");
  {
    StagedFolder staged(folder / "d", false);
    write(staged.create("new"), "new");
    put(folder / "d/theirs", "theirs");
    CHECK(error_of([&] { staged.commit({}); }) == ErrorKind::kRefused);
  }
  CHECK(get(folder / "d/theirs") == "theirs");
  CHECK(entries(folder) == 1);
  CHECK(list_folder(folder / "d").size() == 1);
}

TEST_CASE("stage: nothing is written through a link into a store of blobs, or into one") {
  const TempFolder folder;
  const std::string hash(64, 'a');
  const auto store = [&](const std::string& name, const std::string& blob) {
    std::filesystem::create_directories(folder / name + "/blobs");
    put(folder / name + "/blobs/" + blob, "blob");
    return name + "/blobs/" + blob;
  };
  const std::string hub = store("models--ada--x", "not-even-a-hash"),
                    other = store("ollama", "sha256-" + hash);
  std::filesystem::create_directories(folder / "models--ada--x/snapshots/1");
  const std::string snapshot = folder / "models--ada--x/snapshots/1";
  std::filesystem::create_symlink("../../blobs/not-even-a-hash", snapshot + "/f");
  std::filesystem::create_symlink("../../blobs/pruned", snapshot + "/broken");
  std::filesystem::create_symlink("models--ada--x/snapshots/1/f", folder / "far");
  std::filesystem::create_symlink(other, folder / "near");
  std::filesystem::create_directory_symlink("models--ada--x/blobs", folder / "folder");
  for (const std::string& link : {folder / "far", snapshot + "/f", snapshot + "/broken", folder / "near"}) {
    CAPTURE(link);
    StagedFile staged(link, true);
    write(staged.file(), "new");
    staged.commit();
    CHECK(get(link) == "new");
    CHECK_FALSE(std::filesystem::is_symlink(link));
  }
  CHECK(get(folder / hub) == "blob");
  CHECK(get(folder / other) == "blob");
  for (const std::string& path : {folder / hub, folder / other, folder / "models--ada--x/blobs/new",
                                  folder / "folder/new", folder / "folder"}) {
    CAPTURE(path);
    CHECK(error_of([&] { StagedFile staged(path, true); }) == ErrorKind::kRefused);
    CHECK(error_of([&] { StagedFolder staged(path, true); }) == ErrorKind::kRefused);
  }
  // A folder of that name is a folder.
  std::filesystem::create_directory(folder / "blobs");
  StagedFile staged(folder / "blobs/f", false);
  staged.commit();
}

TEST_CASE("stage: a file of another user does not pass on setuid and setgid") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: only root can tell");
    return;
  }
  const TempFolder folder;
  for (const uid_t owner : {0U, 65534U}) {
    put(folder / "f", "old");
    REQUIRE(::chown((folder / "f").c_str(), owner, owner) == 0);
    ::chmod((folder / "f").c_str(), 06755);
    StagedFile staged(folder / "f", true);
    staged.commit();
    CHECK(mode_of(folder / "f") == (owner == 0 ? 06755 : 0755));
    remove_tree(folder / "f");
  }
}

TEST_CASE("stage: files lie at any depth") {
  const TempFolder folder;
  for (const char* content : {"old", "new"}) {
    StagedFolder staged(folder / "d", true);
    staged.create("a/b/c").write_at(0, as_bytes(content));
    if (std::string_view(content) == "new") staged.keep("a/mine");
    staged.commit({"a/gone"});
    if (std::string_view(content) == "old") {
      put(folder / "d/a/mine", "mine");
      put(folder / "d/a/gone", "gone");
    }
  }
  CHECK(read_whole_file(folder / "d/a/b/c", 100) == "new");
  CHECK(read_whole_file(folder / "d/a/mine", 100) == "mine");
  CHECK_FALSE(exists(folder / "d/a/gone"));
}

TEST_CASE("stage: names that lead out are refused") {
  const TempFolder folder;
  StagedFolder staged(folder / "d", false);
  for (const char* name : {"../x", "/x", "a/../x", "", "a//b", ".", "a/b/../c"}) {
    CAPTURE(name);
    CHECK(error_of([&] { staged.create(name); }) == ErrorKind::kRefused);
  }
}

TEST_CASE("stage: what a killed run leaves is removed by the next") {
  const TempFolder folder;
  const int status = in_child([&] {
    StagedFile file(folder / "f", false);
    StagedFolder staged(folder / "d", false);
    staged.create("x").sync();
    ::raise(SIGKILL);
  });
  REQUIRE(WIFSIGNALED(status));
  CHECK(entries(folder) == 2);
  clean_stale_stages(folder.path());
  CHECK(entries(folder) == 0);
}

TEST_CASE("stage: the work of a living process and of another host is left alone") {
  const TempFolder folder;
  const std::string own = stage_name("f", StageKind::kStage);
  const std::optional<StageName> parsed = parse_stage_name(own);
  REQUIRE(parsed.has_value());
  CHECK(parsed->target == "f");
  CHECK(parsed->owner == StageOwner::kAlive);
  put(folder / own, "x");
  put(folder / ".f.mu-stage.elsewhere-1.0badcafe.17.4711", "x");
  put(folder / ".f.mu-stage.broken", "x");
  put(folder / ".hidden", "x");
  clean_stale_stages(folder.path());
  CHECK(entries(folder) == 4);
}

TEST_CASE("stage: a folder that was renamed aside by a killed run comes back") {
  const TempFolder folder;
  std::string aside;
  // The name was left by a process that has ended.
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  in_child([&] {
    const std::string name = stage_name("d", StageKind::kAside);
    if (::write(pipe_ends[1], name.data(), name.size()) < 0) ::_exit(1);
  });
  char buffer[512];
  const ssize_t size = ::read(pipe_ends[0], buffer, sizeof buffer);
  REQUIRE(size > 0);
  aside = folder / std::string_view(buffer, static_cast<std::size_t>(size));
  REQUIRE(::mkdir(aside.c_str(), 0777) == 0);
  put(aside + "/f", "x");
  clean_stale_stages(folder.path());
  CHECK(get(folder / "d/f") == "x");
  CHECK(entries(folder) == 1);
}

TEST_CASE("stage: a write that fails leaves nothing behind") {
  const TempFolder folder;
  const int status = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string text(5000, 'x');
    const auto fails = [&] {
      StagedFolder staged(folder / "d", false);
      OutputFile file = staged.create("x");
      write(file, text);
    };
    ::_exit(error_of(fails) == ErrorKind::kIo ? 42 : 1);
  });
  CHECK(WEXITSTATUS(status) == 42);
  CHECK(entries(folder) == 0);
}

TEST_CASE("stage: a lasting place keeps what was written, and a later process goes on with it") {
  const TempFolder folder, place;
  const std::string lasting = place / "output";
  SUBCASE("a file") {
    {
      StagedFile staged(folder / "f", false, lasting);
      write(staged.file(), "half of a");
    }
    CHECK(get(lasting) == "half of a");
    CHECK(entries(folder) == 0);
    StagedFile staged(folder / "f", false, lasting);
    staged.file().write_at(8, as_bytes("whole"));
    staged.commit();
    CHECK(get(folder / "f") == "half of whole");
  }
  SUBCASE("a folder") {
    {
      StagedFolder staged(folder / "d", false, lasting);
      write(staged.reopen("sub/weights"), "half of a");
      write(staged.create("text"), "longer than the next");
      write(staged.create("gone/with/it"), "x");
      write(staged.create("gone too"), "x");
    }
    CHECK(entries(folder) == 0);
    StagedFolder staged(folder / "d", false, lasting);
    staged.reopen("sub/weights").write_at(8, as_bytes("whole"));
    write(staged.create("text"), "short");
    staged.commit({});
    CHECK(get(folder / "d/sub/weights") == "half of whole");
    CHECK(get(folder / "d/text") == "short");
    CHECK(list_folder(folder / "d").size() == 2);
  }
  CHECK(entries(folder) == 1);
  CHECK(entries(place) == 0);
}

TEST_CASE("stage: what lies in a lasting place and no run wrote is not written through") {
  const TempFolder folder, place, other;
  const std::string lasting = place / "output";
  put(other / "precious", "precious");
  ::mkdir(lasting.c_str(), 0777);
  StagedFolder staged(folder / "d", false, lasting);
  SUBCASE("a link") {
    REQUIRE(::symlink((other / "precious").c_str(), (lasting + "/f").c_str()) == 0);
  }
  SUBCASE("a hard link") {
    REQUIRE(::link((other / "precious").c_str(), (lasting + "/f").c_str()) == 0);
  }
  CHECK(error_of([&] { staged.reopen("f"); }) == ErrorKind::kRefused);
  write(staged.create("f"), "ours");
  REQUIRE(::symlink(other.path().c_str(), (lasting + "/sub").c_str()) == 0);
  CHECK(error_of([&] { staged.create("sub/precious"); }) == ErrorKind::kIo);
  CHECK(get(other / "precious") == "precious");
}

TEST_CASE("stage: files of parts and of the old folder are linked anew into a lasting place") {
  const TempFolder folder, place;
  const std::string lasting = place / "output";
  put(folder / "part", "part");
  {
    StagedFolder staged(folder / "d", false, lasting);
    staged.adopt(folder / "part", "weights");
  }
  StagedFolder staged(folder / "d", false, lasting);
  staged.adopt(folder / "part", "weights");
  staged.commit({});
  CHECK(get(folder / "d/weights") == "part");
  ::unlink((folder / "d/weights").c_str());
  CHECK(get(folder / "part") == "part");
}

TEST_CASE("stage: from a lasting place an old folder is replaced, and nothing of it stays there") {
  const TempFolder folder, place;
  const std::string lasting = place / "output";
  ::mkdir((folder / "d").c_str(), 0777);
  put(folder / "d/weights", "old");
  put(folder / "d/notes", "mine");
  SUBCASE("in one step") {}
  SUBCASE("in two") {
    disable_exchange_for_tests(true);
  }
  {
    CHECK(error_of([&] { StagedFolder(folder / "d", false, lasting); }) == ErrorKind::kRefused);
    StagedFolder staged(folder / "d", true, lasting);
    write(staged.create("weights"), "new");
    staged.keep("notes");
    staged.commit({});
  }
  disable_exchange_for_tests(false);
  CHECK(get(folder / "d/weights") == "new");
  CHECK(get(folder / "d/notes") == "mine");
  CHECK(entries(folder) == 1);
  CHECK(entries(place) == 0);
}

TEST_CASE("stage: a partial output in a mount point does not count as something in it") {
  const int result = result_of_child([] {
    const TempFolder folder;
    const std::string out = folder / "out", lasting = out + "/.partial/output";
    ::mkdir(out.c_str(), 0777);
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", out.c_str(), "tmpfs", 0, "size=1m") != 0)
      return kChildSkipped;
    make_folders(out + "/.partial");
    {
      StagedFolder staged(out, false, lasting);
      write(staged.reopen("weights"), "half");
    }
    StagedFolder staged(out, false, lasting);
    write(staged.reopen("weights"), "whol");
    staged.commit({});
    const bool good = get(out + "/weights") == "whol" && list_folder(out + "/.partial").empty() &&
                      error_of([&] { StagedFolder(out, false, lasting); }) == ErrorKind::kRefused;
    ::umount(out.c_str());
    return good ? kChildPassed : 1;
  });
  CHECK((result == kChildPassed || result == kChildSkipped));
}
