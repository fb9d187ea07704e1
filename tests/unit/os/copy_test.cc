// SPDX-License-Identifier: Apache-2.0
#include "os/copy.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "os/remove_tree.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

OutputFile create(const std::string& path) {
  return {Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0666)), path};
}

}  // namespace

TEST_CASE("copy: a range lands where it should and is reported") {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += static_cast<char>('a' + i % 23);
  put(folder / "in", text);
  // The kernel copies when offsets in the page agree, a buffer otherwise.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const auto& [from, to] : {std::pair<std::uint64_t, std::uint64_t>{1000, 10}, {page + 1000, 1000}}) {
    OutputFile out = create(folder / "out");
    std::uint64_t told = 0;
    copy_range(InputFile(folder / "in"), from, out, to, 200'001, [&told](std::uint64_t n) { told += n; });
    CHECK(get(folder / "out").substr(to) == text.substr(from, 200'001));
    CHECK(told == 200'001);
  }
}

TEST_CASE("copy: into a pipe-like file system the buffer does it") {
  const TempFolder folder;
  put(folder / "in", "hello");
  // /proc files and /dev/null refuse copy_file_range or give nothing; what arrives must be right
  // anyway.
  OutputFile null{Fd(::open("/dev/null", O_WRONLY)), "/dev/null"};
  CHECK_NOTHROW(copy_range(InputFile(folder / "in"), 0, null, 0, 5, {}));
}

TEST_CASE("copy: an input that has become shorter is an error that names it") {
  const TempFolder folder;
  put(folder / "in", "0123456789");
  const InputFile in(folder / "in");
  REQUIRE(::truncate((folder / "in").c_str(), 4) == 0);
  OutputFile out = create(folder / "out");
  CHECK(error_of([&] { copy_range(in, 0, out, 0, 10, {}); }) == ErrorKind::kIo);
  std::vector<std::byte> buffer(10);
  CHECK(error_of([&] { in.read_at(0, buffer); }) == ErrorKind::kIo);
}

TEST_CASE("file: folders, devices and missing files are refused") {
  const TempFolder folder;
  CHECK(error_of([&] { InputFile file(folder.path()); }) == ErrorKind::kIo);
  CHECK(error_of([&] { InputFile file(folder / "none"); }) == ErrorKind::kIo);
  CHECK(error_of([&] { InputFile file("/dev/null"); }) == ErrorKind::kIo);
  put(folder / "big", "12345");
  CHECK(error_of([&] { read_whole_file(folder / "big", 4); }) == ErrorKind::kMalformed);
  CHECK(read_whole_file(folder / "big", 5) == "12345");
}

TEST_CASE("folder: links are removed, never followed") {
  const TempFolder folder;
  REQUIRE(::mkdir((folder / "a").c_str(), 0777) == 0);
  REQUIRE(::mkdir((folder / "outside").c_str(), 0777) == 0);
  put(folder / "outside/precious", "x");
  REQUIRE(::symlink((folder / "outside").c_str(), (folder / "a/link").c_str()) == 0);
  put(folder / "a/file", "x");
  remove_tree(folder / "a");
  CHECK_FALSE(exists(folder / "a"));
  CHECK(exists(folder / "outside/precious"));
}

TEST_CASE("folder: paths") {
  CHECK(parent_of("a/b") == "a");
  CHECK(parent_of("/a") == "/");
  CHECK(parent_of("a") == ".");
  CHECK(base_name("a/b") == "b");
  CHECK(tidy_path("a//") == "a");
  CHECK(tidy_path("/") == "/");
  CHECK(join_path("a/", "b") == "a/b");
}
