// SPDX-License-Identifier: Apache-2.0
#include "os/far.h"

#include <doctest/doctest.h>

#include <cstring>

#include "os/file.h"
#include "os/folder.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

FarFile text_file(const std::string& text, std::string_view start = {}) {
  return {text.size(),
          [text](std::uint64_t offset, std::span<std::byte> out) {
            std::memcpy(out.data(), text.data() + offset, out.size());
          },
          start};
}

}  // namespace

TEST_CASE("files and folders that are mounted below a name are listed and read") {
  mount_far("hf://a/b",
            {{"z.txt", text_file("zz")}, {"deep/one", text_file("1")}, {"deep/x/two", text_file("22")}});
  const std::vector<FolderEntry> entries = list_folder("hf://a/b");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].name == "deep");
  CHECK(entries[0].kind == FolderEntry::Kind::kFolder);
  CHECK(entries[1].name == "z.txt");
  CHECK(entries[1].stamp.size == 2);
  CHECK(list_folder("hf://a/b/deep/").size() == 2);
  CHECK(is_folder("hf://a/b/deep/x"));
  CHECK_FALSE(is_folder("hf://a/b/z.txt"));
  CHECK(exists("hf://a/b/z.txt"));
  CHECK_FALSE(exists("hf://a/b/z"));
  CHECK_FALSE(exists("hf://a/bc"));
  CHECK(read_whole_file("hf://a/b/deep/x/two", 10) == "22");
  CHECK(error_of([] { list_folder("hf://a/b/none"); }) == ErrorKind::kIo);
  CHECK(error_of([] { InputFile("hf://a/b/deep"); }) == ErrorKind::kIo);
}

TEST_CASE("a file on another machine has bounds, no descriptor, and its fetched start") {
  mount_far("hf://a/c", {{"f", text_file("0123456789", "01234")}, {"g", text_file("0123456789")}});
  const InputFile file("hf://a/c/f"), other("hf://a/c/g");
  CHECK(file.size() == 10);
  CHECK(file.read_start(100) == "01234");
  CHECK(file.read_start(3) == "012");
  CHECK(other.read_start(100) == "0123456789");
  std::string text(4, '\0');
  CHECK(error_of([&] { file.read_at(7, std::as_writable_bytes(std::span(text))); }) == ErrorKind::kIo);
  file.read_at(6, std::as_writable_bytes(std::span(text)));
  CHECK(text == "6789");
  CHECK(error_of([&] { (void)file.fd(); }) == ErrorKind::kMalformed);
  CHECK(file.id() != other.id());
}

TEST_CASE("a name of a hub without a mount says what to do") {
  CHECK(error_of([] { InputFile("https://example.org/x"); }) == ErrorKind::kIo);
  CHECK(error_of([] { list_folder("hf://nobody/nothing"); }) == ErrorKind::kIo);
  CHECK_FALSE(exists("https://example.org/x"));
  CHECK_FALSE(is_far_name("file:///x"));
}

TEST_CASE(
    "a mounted file with a copy here is that copy, under its own name; one that is not to be had says so") {
  const TempFolder folder;
  put(folder / "blob", "0123");
  FarFile near = text_file("0123"), gone = text_file("x");
  near.local = folder / "blob";
  near.read = [](std::uint64_t, std::span<std::byte>) { throw refused("read from afar"); };
  gone.refuse = [] { throw refused("not to be had"); };
  mount_far("hf://a/d", {{"f", near}, {"g", gone}});
  const InputFile file("hf://a/d/f");
  CHECK(file.far() == nullptr);
  CHECK(file.path() == "hf://a/d/f");
  CHECK(file.id() == InputFile(folder / "blob").id());
  CHECK(read_whole_file("hf://a/d/f", 10) == "0123");
  CHECK(near_path("hf://a/d/f") == folder / "blob");
  CHECK(near_path("hf://a/d/g") == "hf://a/d/g");
  CHECK(near_path("a/d/g") == "a/d/g");
  CHECK(exists("hf://a/d/g"));
  CHECK(error_of([] { InputFile("hf://a/d/g"); }) == ErrorKind::kRefused);
  unmount_far("hf://a/d");
  CHECK_FALSE(exists("hf://a/d/f"));
}
