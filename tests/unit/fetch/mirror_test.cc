// SPDX-License-Identifier: Apache-2.0
#include "fetch/mirror.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "fetch/far_files.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::span<const std::byte> bytes_at(const TestFile& file, std::uint64_t offset, std::uint64_t size) {
  return std::as_bytes(std::span(file.text)).subspan(offset, size);
}

// Reads as others do; says whether the network was asked.
bool comes_from_far(const TestFile& file, std::uint64_t offset, std::uint64_t size, Requests& requests) {
  const std::size_t before = requests.all.size();
  std::string text(size, '\0');
  read_far(file, offset, std::as_writable_bytes(std::span(text)));
  CHECK(text == file.text.substr(offset, size));
  return requests.all.size() != before;
}

std::uint64_t disk_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
}

}  // namespace

TEST_CASE("mirror: reads are served while all of their bytes are there") {
  Requests requests;
  const TestFile file("file", random_text(1 << 20, 1), requests), other("other", "text", requests);
  const TempFolder folder;
  {
    Mirror mirror(folder.path(), {&other, &file});
    CHECK(comes_from_far(file, 0, 10, requests));
    mirror.write(file, 1000, bytes_at(file, 1000, 5000));
    mirror.write(file, 6000, bytes_at(file, 6000, 94'000));
    CHECK(mirror.bytes() == 99'000);
    CHECK_FALSE(comes_from_far(file, 1000, 99'000, requests));
    CHECK_FALSE(comes_from_far(file, 5990, 20, requests));
    CHECK(comes_from_far(file, 999, 2, requests));
    CHECK(comes_from_far(file, 99'999, 2, requests));
    CHECK(comes_from_far(other, 1, 2, requests));
    mirror.release(file.range(1000, 5000));
    CHECK(comes_from_far(file, 1000, 10, requests));
    CHECK_FALSE(comes_from_far(file, 6000, 10, requests));
  }
  CHECK(comes_from_far(file, 6000, 10, requests));
}

TEST_CASE("mirror: what is released goes back to the disk, and nothing else") {
  Requests requests;
  const TestFile file("file", random_text(1 << 20, 1), requests);
  const TempFolder folder;
  Mirror mirror(folder.path(), {&file});
  constexpr std::uint64_t kPiece = 100'000;  // no multiple of a page
  for (std::uint64_t at = 0; at < 10 * kPiece; at += kPiece)
    mirror.write(file, at, bytes_at(file, at, kPiece));
  mirror.sync();
  const std::uint64_t full = disk_of(folder / "0");
  for (const std::uint64_t piece : {3U, 5U, 4U, 0U}) mirror.release(file.range(piece * kPiece, kPiece));
  for (const std::uint64_t piece : {1U, 2U, 6U, 7U, 8U, 9U})
    CHECK_FALSE(comes_from_far(file, piece * kPiece, kPiece, requests));
  CHECK(mirror.bytes() == 6 * kPiece);
  // Where the file system can't make holes there is nothing to see.
  const std::uint64_t left = disk_of(folder / "0");
  CHECK((left == full || left <= full - 4 * kPiece + 3 * 2 * 4096));
  // A place that was released can be used again.
  mirror.write(file, 4 * kPiece, bytes_at(file, 4 * kPiece, kPiece));
  CHECK_FALSE(comes_from_far(file, 4 * kPiece, kPiece, requests));
  mirror.release(file.all());
  CHECK(mirror.bytes() == 0);
  CHECK_FALSE(exists(folder / "0"));
  mirror.write(file, 0, bytes_at(file, 0, 10));
  CHECK_FALSE(comes_from_far(file, 0, 10, requests));
}

TEST_CASE("mirror: a later process adopts what it knows to be there") {
  Requests requests;
  const TestFile file("file", random_text(1 << 20, 1), requests);
  const TempFolder folder;
  {
    Mirror mirror(folder.path(), {&file});
    mirror.write(file, 1000, bytes_at(file, 1000, 5000));
    mirror.sync();
  }
  Mirror mirror(folder.path(), {&file});
  CHECK(comes_from_far(file, 1000, 5000, requests));
  mirror.adopt(file.range(1000, 5000));
  CHECK_FALSE(comes_from_far(file, 1000, 5000, requests));
  CHECK(mirror.bytes() == 5000);
  CHECK(error_of([&] { mirror.adopt(file.range(1000, 5001)); }) == ErrorKind::kMalformed);
}

TEST_CASE("mirror: a file that can't be written is named") {
  Requests requests;
  const TestFile file("file", "text", requests);
  const TempFolder folder;
  Mirror mirror(folder / "missing", {&file});
  CHECK(error_of([&] { mirror.write(file, 0, bytes_at(file, 0, 1)); }) == ErrorKind::kIo);
}
