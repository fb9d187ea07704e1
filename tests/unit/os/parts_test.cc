// SPDX-License-Identifier: Apache-2.0
#include "os/parts.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include "os/stage.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

const std::string kMine = "0123456789abcdef";
const std::string kOther = "fedcba9876543210";

void finish(const PartsFolder& parts, const Part& part, std::string_view text) {
  parts.make();
  StagedFolder stage(parts.path_of(part), true);
  stage.create("f").write_at(0, as_bytes(text));
  stage.commit_if_first();
}

bool refuses(const PartsFolder& parts, bool discard_others) {
  std::vector<Part> found;
  return error_of([&] { found = parts.find(discard_others); }) == ErrorKind::kRefused;
}

}  // namespace

TEST_CASE("parts: parts of any cut are found, stages are not, and all go at once") {
  const TempFolder folder;
  const PartsFolder parts(folder / "out/", kMine);
  CHECK(parts.path() == folder / "out.parts");
  CHECK(parts.find(false).empty());
  parts.remove();
  finish(parts, {2, 3}, "");
  finish(parts, {1, 2}, "");
  const StagedFolder unfinished(parts.path_of({3, 3}), true);
  CHECK(parts.find(false) == std::vector<Part>{{1, 2}, {2, 3}});
  parts.remove();
  CHECK(list_folder(folder.path()).empty());
}

TEST_CASE("parts: pinned commits and partial outputs lie beside parts, and go with them") {
  const TempFolder folder;
  const PartsFolder parts(folder / "out", kMine);
  finish(parts, {1, 2}, "");
  put(parts.path() + "/pinned.0123456789abcdef", "");
  make_folders(parts.path_of({2, 2}) + ".partial");
  CHECK(parts.find(false) == std::vector<Part>{{1, 2}});
  make_folders(PartsFolder(folder / "out", kOther).path_of({2, 2}) + ".partial");
  CHECK(refuses(parts, false));
  CHECK(parts.find(true) == std::vector<Part>{{1, 2}});
  CHECK(exists(parts.path_of({2, 2}) + ".partial"));
  make_folders(parts.path() + "/x.partial");
  CHECK(refuses(parts, true));
  parts.remove();
  CHECK(list_folder(folder.path()).empty());
}

TEST_CASE("parts: the first of two that finish one part stays") {
  const TempFolder folder;
  const PartsFolder parts(folder / "out", kMine);
  parts.make();
  StagedFolder slow(parts.path_of({1, 1}), true);
  slow.create("f").write_at(0, as_bytes("slow"));
  finish(parts, {1, 1}, "fast");
  CHECK_FALSE(slow.commit_if_first());
  CHECK(get(parts.path_of({1, 1}) + "/f") == "fast");
}

TEST_CASE("parts: other plans' parts are refused by name or discarded; anything else is never touched") {
  const TempFolder folder;
  const PartsFolder mine(folder / "out", kMine), other(folder / "out", kOther);
  finish(mine, {1, 2}, "");
  finish(other, {1, 2}, "");
  CHECK(refuses(mine, false));
  CHECK(exists(other.path_of({1, 2})));
  CHECK(mine.find(true) == std::vector<Part>{{1, 2}});
  CHECK_FALSE(exists(other.path_of({1, 2})));
  for (const char* name : {"notes", "0123456789abcdef.0-of-2", "0123456789abcdef.1-of-2x",
                           "0123456789ABCDEF.1-of-2", "0123456789abcdef-of-2", "0123456789abcdef.-of-"}) {
    put(join_path(mine.path(), name), "");
    CHECK_MESSAGE(refuses(mine, true), name);
    CHECK(exists(join_path(mine.path(), name)));
    ::unlink(join_path(mine.path(), name).c_str());
  }
  // A file or a link in the place of a part is not a part.
  put(mine.path_of({2, 2}), "");
  CHECK(refuses(mine, true));
  ::unlink(mine.path_of({2, 2}).c_str());
  REQUIRE(::symlink("/", mine.path_of({2, 2}).c_str()) == 0);
  CHECK(refuses(mine, true));
}
