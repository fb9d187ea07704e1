// SPDX-License-Identifier: Apache-2.0
#include "model/fingerprint.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

#include "os/far.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string of(const std::string& path, KnownBy by) {
  Fingerprint fingerprint("test 1");
  fingerprint.add(InputFile(path), by);
  return fingerprint.finish();
}

void set_time(const std::string& path, std::int64_t seconds, std::int64_t nanoseconds) {
  const timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

}  // namespace

TEST_CASE("fingerprint: a file by its name, size and time, or by its name and bytes, wherever it lies") {
  const TempFolder here, there;
  put(here / "f", "text");
  put(there / "f", "text");
  put(there / "g", "text");
  set_time(here / "f", 1000, 1);
  set_time(there / "f", 1000, 1);
  CHECK(of(here / "f", KnownBy::kTime) == of(there / "f", KnownBy::kTime));
  CHECK(of(here / "f", KnownBy::kContent) != of(there / "g", KnownBy::kContent));
  set_time(there / "f", 1000, 2);
  CHECK(of(here / "f", KnownBy::kTime) != of(there / "f", KnownBy::kTime));
  CHECK(of(here / "f", KnownBy::kContent) == of(there / "f", KnownBy::kContent));
  put(there / "f", "tekst");
  set_time(there / "f", 1000, 1);
  CHECK(of(here / "f", KnownBy::kTime) != of(there / "f", KnownBy::kTime));
  put(there / "f", "test");
  CHECK(of(here / "f", KnownBy::kContent) != of(there / "f", KnownBy::kContent));
}

TEST_CASE("fingerprint: what is added is kept apart, and is 16 hex digits") {
  Fingerprint a("test 1"), b("test 1"), c("test 2");
  a.add("ab");
  a.add("c");
  b.add("a");
  b.add("bc");
  const std::string first = a.finish();
  CHECK(first.size() == 16);
  CHECK(first.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(first != b.finish());
  c.add("ab");
  c.add("c");
  CHECK(first != c.finish());
  CHECK(error_of([] { parse_known_by("size"); }) == ErrorKind::kUsage);
}

TEST_CASE("fingerprint: a file on a hub by its SHA-256 or version, also where a copy is here") {
  const TempFolder here;
  put(here / "copy", "text");
  const auto far = [](const std::string& version, const std::string& sha256) {
    FarFile file;
    file.size = 4;
    file.read = [](std::uint64_t at, std::span<std::byte> out) {
      std::memcpy(out.data(), "text" + at, out.size());
    };
    file.version = version;
    file.sha256 = sha256;
    return file;
  };
  FarFile copied = far("c/f 1", "");
  copied.local = here / "copy";
  const std::string hash = "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1";  // of "text"
  mount_far("hf://a/prints", {{"1/f", far("c/f 1", "")},
                              {"2/f", far("c/f 2", "")},
                              {"3/f", far("d/f 3", hash)},
                              {"4/f", far("e/f 4", hash)},
                              {"5/f", far("", "")},
                              {"6/f", copied}});
  const auto known = [](int i, KnownBy by) { return of("hf://a/prints/" + std::to_string(i) + "/f", by); };
  CHECK(known(1, KnownBy::kTime) != known(2, KnownBy::kTime));
  CHECK(known(1, KnownBy::kTime) == known(6, KnownBy::kTime));
  CHECK(known(3, KnownBy::kTime) == known(4, KnownBy::kTime));
  put(here / "f", "text");
  for (int i = 1; i <= 6; ++i) CHECK(known(i, KnownBy::kContent) == of(here / "f", KnownBy::kContent));
  CHECK(error_of([&] { known(5, KnownBy::kTime); }) == ErrorKind::kRefused);
  unmount_far("hf://a/prints");
}
