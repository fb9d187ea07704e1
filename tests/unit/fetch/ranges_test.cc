// SPDX-License-Identifier: Apache-2.0
#include "fetch/ranges.h"

#include <doctest/doctest.h>

#include "fetch/byte_set.h"

using namespace mu;

namespace {

struct Files {
  FarFile a, b;
  Files() {
    for (FarFile* file : {&a, &b}) {
      file->size = 64 << 20;
      file->sha256 = "00";
    }
  }
};

}  // namespace

TEST_CASE("byte set: runs are joined, cut, and known") {
  ByteSet set;
  set.add({10, 20});
  set.add({30, 40});
  set.add({5, 5});
  CHECK(set.bytes() == 20);
  CHECK(set.has({12, 20}));
  CHECK_FALSE(set.has({12, 21}));
  CHECK(set.misses({20, 30}));
  CHECK(set.misses({0, 10}));
  CHECK_FALSE(set.misses({19, 30}));
  CHECK(set.missing_of({0, 50}) == std::vector<ByteRun>{{0, 10}, {20, 30}, {40, 50}});
  CHECK(set.widened({22, 24}) == ByteRun{20, 30});
  CHECK(set.widened({40, 41}) == ByteRun{40, UINT64_MAX});
  CHECK(set.widened({2, 3}) == ByteRun{0, 10});
  set.add({20, 30});
  CHECK(set.missing_of({10, 40}).empty());
  set.remove({15, 35});
  CHECK(set.bytes() == 10);
  CHECK(set.missing_of({10, 40}) == std::vector<ByteRun>{{15, 35}});
  set.add({0, 100});
  CHECK(set.bytes() == 100);
  set.remove({0, 100});
  CHECK(set.bytes() == 0);
  CHECK(set.has({7, 7}));
}

TEST_CASE(
    "ranges: in file order, by the first range of each file, gaps that cost less than a request closed") {
  const Files files;
  const FarFile *const a = &files.a, *const b = &files.b;
  CHECK(in_file_order({{b, 1000, 10}, {a, 500, 10}, {b, 0, 10}, {a, 505, 100}, {a, 0, 0}}) ==
        std::vector<FarRange>{{b, 0, 1010}, {a, 500, 105}});
  CHECK(in_file_order({{a, 0, 10}, {a, 10 + kFarGap, 5}, {a, 20 + 2 * kFarGap, 5}}) ==
        std::vector<FarRange>{{a, 0, 15 + kFarGap}, {a, 20 + 2 * kFarGap, 5}});
  CHECK(in_file_order({{a, 0, 100}, {a, 10, 5}}) == std::vector<FarRange>{{a, 0, 100}});
  CHECK(in_file_order({}).empty());
}

TEST_CASE("ranges: joined in their own order, each byte once") {
  const Files files;
  const FarFile *const a = &files.a, *const b = &files.b;
  CHECK(joined_in_order({{a, 100, 10}, {a, 110, 10}, {b, 0, 5}, {a, 130, 10}, {a, 0, 10}}) ==
        std::vector<FarRange>{{a, 100, 20}, {b, 0, 5}, {a, 130, 10}, {a, 0, 10}});
  CHECK(joined_in_order({{a, 0, 10}, {b, 0, 5}, {a, 5, 10}, {b, 0, 5}}) ==
        std::vector<FarRange>{{a, 0, 10}, {b, 0, 5}, {a, 10, 5}});
  // What a gap holds already is not read again.
  CHECK(joined_in_order({{a, 50, 10}, {a, 0, 10}, {a, 100, 10}}) ==
        std::vector<FarRange>{{a, 50, 10}, {a, 0, 10}, {a, 100, 10}});
  // What came with a gap is there.
  CHECK(joined_in_order({{a, 0, 10}, {a, 50, 10}, {b, 0, 1}, {a, 20, 10}}) ==
        std::vector<FarRange>{{a, 0, 60}, {b, 0, 1}});
}

TEST_CASE("ranges: a file of which little is left over is read whole") {
  Files files;
  const FarFile *const a = &files.a, *const b = &files.b;
  const std::uint64_t size = a->size, little = size / 64;
  files.a.start = "12345678";
  CHECK(with_whole_files({{a, 100, size - 100}, {b, little + 1, size - little - 1}}) ==
        std::vector<FarRange>{{a, 8, size - 8}, {b, little + 1, size - little - 1}});
  // Between the ranges and at the end; those of other files keep their places.
  CHECK(with_whole_files({{a, 8, 1000}, {b, 0, 10}, {a, 2000, 1000}, {a, 4000, size - 5000}}) ==
        std::vector<FarRange>{{a, 8, 1000}, {b, 0, 10}, {a, 1008, size - 1008}});
  // Backwards it could not be hashed.
  const std::vector<FarRange> backwards = {{a, size / 2, size / 2}, {b, 0, 10}, {a, 8, size / 2 - 9}};
  CHECK(with_whole_files(backwards) == backwards);
  // Nothing to compare with.
  files.a.sha256.clear();
  CHECK(with_whole_files({{a, 100, size - 100}}) == std::vector<FarRange>{{a, 100, size - 100}});
}
