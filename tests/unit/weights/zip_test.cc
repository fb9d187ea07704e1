// SPDX-License-Identifier: Apache-2.0
#include "weights/archive/zip.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "assembler.h"
#include "testing.h"
#include "weights/open/open.h"

using namespace mu;
using namespace mu::testing;

namespace {

const std::string kText = [] {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += std::to_string(i) + ",";
  return text;
}();

// The fault of opening the archive and reading all members; "" when there is none.
std::string error_of_zip(const std::string& bytes) {
  const TempFolder folder;
  put(folder / "a.zip", bytes);
  const InputFile file(folder / "a.zip");
  try {
    Findings findings;
    const ZipArchive archive(file, 0, file.size(), findings);
    for (const ZipEntry& entry : archive.entries()) static_cast<void>(archive.read(entry, 1U << 20));
    return findings.list().empty() ? "" : std::string(findings.list()[0].rule);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMalformed);
    return error.message();
  }
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("zip: members as torch and NumPy write them") {
  const TempFolder folder;
  put(folder / "a.zip", "front" + zip({{.name = "a/data.pkl", .data = "one", .padding = 50},
                                       {.name = "a/two", .data = kText, .deflate = true, .zip64 = true},
                                       {.name = "a/empty", .data = ""}},
                                      {.zip64_end = true}));
  const InputFile file(folder / "a.zip");
  Findings findings;
  // Also as a slice of a file: offsets count from its beginning.
  const ZipArchive archive(file, 5, file.size() - 5, findings);
  REQUIRE(archive.entries().size() == 3);
  CHECK(archive.read(*archive.find("a/data.pkl"), 100) == "one");
  CHECK(archive.data_offset(archive.entries()[0]) == 5 + 30 + 10 + 54);
  CHECK(archive.read(*archive.find("a/two"), 1U << 20) == kText);
  CHECK(archive.read(*archive.find("a/empty"), 0).empty());
  CHECK(archive.find("a/none") == nullptr);
  CHECK(findings.list().empty());
  CHECK(error_of([&] { static_cast<void>(archive.read(*archive.find("a/two"), 10)); }) ==
        ErrorKind::kMalformed);
}

TEST_CASE("zip: a directory that lies is refused") {
  const ZipMember a{.name = "a", .data = "12345"}, b{.name = "b", .data = "67890"};
  const auto with = [](ZipMember member, auto change) {
    change(member);
    return zip({member});
  };
  const std::string plain = zip({a, b});
  CHECK(error_of_zip(plain).empty());
  for (std::size_t size = 0; size < plain.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(error_of_zip(plain.substr(0, size)).empty());
  }
  CHECK(has(error_of_zip(plain + "x"), "something was appended"));
  CHECK(has(error_of_zip("x" + plain), "not where its end record says"));
  CHECK(error_of_zip(zip({a}, {.front = "x"})) == "ZP-FRONT");
  CHECK(has(error_of_zip(zip({a, b}, {.count = 3})), "can't hold 3 members"));
  CHECK(has(error_of_zip(zip({a, b}, {.count = 1})), "more entries than its end record counts"));
  CHECK(has(error_of_zip(zip({a, b}, {.directory_size = 10})), "not where its end record says"));
  CHECK(has(error_of_zip(zip({a}, {.directory_size = 0xFFFFFFF0})), "lies outside the file"));
  CHECK(has(error_of_zip(zip({a}, {.directory_offset = 0xFFFFFFF0})), "lies outside the file"));
  CHECK(has(error_of_zip(zip({a}, {.directory_offset = 0xFFFFFFFF})), "lacks its zip64 end record"));
  CHECK(has(error_of_zip(zip({a}, {.locator = 1U << 30, .zip64_end = true})), "points outside"));
  CHECK(has(error_of_zip(zip({a}, {.locator = 0, .zip64_end = true})), "points at no zip64 end record"));
  CHECK(has(error_of_zip(zip({a}, {.count = 7, .zip64_end = true})), "disagree"));
  CHECK(has(error_of_zip(zip({a, a})), "two members"));
  CHECK(has(
      error_of_zip(zip(
          {a, with(b, [](ZipMember&) {}).empty() ? b : ZipMember{.name = "b", .data = "x", .offset = 2}})),
      "overlaps"));
  CHECK(has(error_of_zip(with(a, [](ZipMember& m) { m.offset = 1U << 30; })), "reaches beyond"));
  CHECK(has(error_of_zip(with(a, [](ZipMember& m) { m.compressed = m.size = 1U << 30; })), "reaches beyond"));
  CHECK(has(error_of_zip(with(a, [](ZipMember& m) { m.zip64 = true, m.compressed = ~0ULL; })),
            "reaches beyond"));
  CHECK(has(error_of_zip(with(a, [](ZipMember& m) { m.size = 4; })), "two sizes"));
  // The name in the directory counts, as for torch; the local one only moves the data.
  CHECK(error_of_zip(with(a, [](ZipMember& m) { m.local_name = "longer name than the directory has"; })) ==
        "ZP-LOCAL");
  CHECK(error_of_zip(with(a, [](ZipMember& m) { m.local_name = "b"; })) == "ZP-LOCAL");
  // An end record inside the comment of another, which torch and Python would believe.
  std::string two = zip({a});
  two[two.size() - 2] = 22 + 4;
  CHECK(has(error_of_zip(two + zip({}) + "1234"), "not at its end"));
  CHECK(has(error_of_zip(with(a, [](ZipMember& m) { m.method = 12; })), "method 12"));
  CHECK(error_of_zip(with(a, [](ZipMember& m) { m.flags = 1; })) == "ZP-FLAGS");
  std::string broken = plain;
  broken[2] = 'x';
  CHECK(has(error_of_zip(broken), "no local header"));
}

TEST_CASE("zip: deflated members that lie") {
  ZipMember member{.name = "a", .data = kText, .deflate = true};
  CHECK(error_of_zip(zip({member})).empty());
  member.crc = 1;
  CHECK(has(error_of_zip(zip({member})), "checksum"));
  member.crc.reset();
  member.size = kText.size() + 1;
  CHECK(has(error_of_zip(zip({member})), "it ends after"));
  member.size = 1'000'000'000'000;
  CHECK_FALSE(error_of_zip(zip({member})).empty());
  ZipMember bomb{.name = "a", .data = "x", .deflate = true, .size = 1'000'000};
  CHECK(has(error_of_zip(zip({bomb})), "beyond what deflate can"));
  const ZipMember noise{.name = "a", .data = std::string(100, '\xff'), .size = 200, .method = 8};
  CHECK(has(error_of_zip(zip({noise})), "can't be unpacked"));
}

TEST_CASE("zip: hundreds of deflated members take two descriptors") {
  const TempFolder folder;
  std::vector<ZipMember> members;
  for (int i = 0; i < 300; ++i)
    members.push_back({.name = std::to_string(i), .data = kText, .deflate = true});
  put(folder / "a.zip", zip(members));
  const InputFile file(folder / "a.zip");
  Findings findings;
  const ZipArchive archive(file, 0, file.size(), findings);
  const auto open_files = [] {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
      count += entry.exists() ? 1 : 1;
    return count;
  };
  const std::size_t before = open_files();
  std::vector<std::shared_ptr<InflatedMember>> open;
  for (const ZipEntry& entry : archive.entries()) {
    open.push_back(archive.inflated(entry));
    std::byte one[1];
    open.back()->read_at(kText.size() - 1, one);  // to the end, then a step back: some go to the spool
    if (open.size() % 10 == 0) open.back()->read_at(70'000, one);
    CHECK(static_cast<char>(one[0]) == kText[open.size() % 10 == 0 ? 70'000 : kText.size() - 1]);
  }
  CHECK(open_files() <= before + 2);
}

TEST_CASE("zip: a deflated member is read forward, back and from several threads") {
  const TempFolder folder;
  put(folder / "a.zip", zip({{.name = "a", .data = kText, .deflate = true}}));
  const InputFile file(folder / "a.zip");
  Findings findings;
  const ZipArchive archive(file, 0, file.size(), findings);
  const std::shared_ptr<InflatedMember> member = archive.inflated(archive.entries()[0]);
  const auto check = [&member](std::size_t at, std::size_t size) {
    std::string got(size, '\0');
    member->read_at(at, std::as_writable_bytes(std::span(got)));
    return got == kText.substr(at, size);
  };
  CHECK(check(10, 5));
  CHECK(check(70'000, 1000));
  CHECK(check(0, kText.size()));
  std::vector<std::thread> threads;
  std::vector<char> fine(4, 0);
  for (std::size_t t = 0; t < fine.size(); ++t) {
    threads.emplace_back([&, t] {
      bool all = true;
      for (std::size_t i = 0; i < 50; ++i) all = check((i * 7919 + t * 1000) % 90'000, 500) && all;
      fine[t] = all ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(std::count(fine.begin(), fine.end(), 1) == 4);
}
