// SPDX-License-Identifier: Apache-2.0
#include "os/mounts.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "child.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

constexpr MountLook kLooks[] = {MountLook::kByMark, MountLook::kByNumber};

Fd open_folder(const std::string& path) {
  return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

TEST_CASE("mounts: an entry has the status that fstatat gives") {
  const TempFolder folder;
  put(folder / "file", std::string(5000, 'x'));
  std::filesystem::create_directory(folder / "inner");
  std::filesystem::create_symlink("nowhere", folder / "link");
  const Fd fd = open_folder(folder.path());
  for (const char* name : {"file", "inner", "link"}) {
    struct stat expected {};
    REQUIRE(::fstatat(fd.get(), name, &expected, AT_SYMLINK_NOFOLLOW) == 0);
    for (const MountLook look : kLooks) {
      CAPTURE(name);
      const std::optional<EntryStatus> found = find_entry_status(fd.get(), name, look);
      REQUIRE(found.has_value());
      CHECK_FALSE(found->is_mount);
      CHECK(stamp_of(found->status) == stamp_of(expected));
      CHECK(found->status.st_mode == expected.st_mode);
      CHECK(found->status.st_nlink == expected.st_nlink);
      CHECK(found->status.st_blocks == expected.st_blocks);
      CHECK(found->status.st_uid == expected.st_uid);
    }
  }
  for (const MountLook look : kLooks) {
    CHECK_FALSE(find_entry_status(fd.get(), "none", look).has_value());
    CHECK(errno == ENOENT);
    CHECK_FALSE(is_mount_root(fd.get(), look));
    CHECK(is_mount_root(open_folder("/proc").get(), look));
  }
}

TEST_CASE("mounts: of folders and of single files, by mark and by number") {
  const int result = result_of_child([] {
    const TempFolder folder, outside;
    put(outside / "file", "x");
    put(folder / "file", "y");
    put(folder / "plain", "z");
    std::filesystem::create_directory(folder / "inner");
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return kChildSkipped;
    const auto bind = [&](const std::string& from, const char* to) {
      return ::mount(from.c_str(), (folder / to).c_str(), nullptr, MS_BIND, nullptr) == 0;
    };
    if (!bind(outside.path(), "inner") || !bind(outside / "file", "file")) return kChildSkipped;
    const Fd fd = open_folder(folder.path());
    bool passed = true;
    for (const MountLook look : kLooks) {
      for (const auto& [name, is_mount] : {std::pair{"inner", true}, {"file", true}, {"plain", false}}) {
        const std::optional<EntryStatus> found = find_entry_status(fd.get(), name, look);
        passed = passed && found && found->is_mount == is_mount;
      }
      passed = passed && is_mount_root(open_folder(folder / "inner").get(), look);
    }
    ::umount((folder / "inner").c_str());
    ::umount((folder / "file").c_str());
    return passed ? kChildPassed : 1;
  });
  if (result == kChildSkipped) {
    MESSAGE("skipped: mounts are not permitted here");
    return;
  }
  CHECK(result == kChildPassed);
}
