// SPDX-License-Identifier: Apache-2.0
#include "base/glob.h"

#include <doctest/doctest.h>

#include "base/sizes.h"
#include "testing.h"

using namespace mu;
using mu::testing::error_of;

TEST_CASE("glob: matches as fnmatchcase does") {
  struct Row {
    const char* pattern;
    const char* text;
    bool matches;
  };
  // Expected values from Python 3.11's fnmatch.fnmatchcase.
  const Row rows[] = {
      {"*", "", true},
      {"*", "a.b/c", true},
      {"a*c", "abbc", true},
      {"a*c", "abb", false},
      {"?", "a", true},
      {"?", "", false},
      {"?", "é", true},
      {"[abc]", "b", true},
      {"[!abc]", "b", false},
      {"[!abc]", "d", true},
      {"[a-c]x", "bx", true},
      {"[c-a]", "b", false},
      {"[]]", "]", true},
      {"[]-a]", "^", true},
      {"[", "[", true},
      {"a[", "a[", true},
      {"[!]", "[!]", true},
      {"*.weight", "a.b.weight", true},
      {"*.weight", "a.weights", false},
      {"A", "a", false},
      {"a**b", "axyzb", true},
      {"*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
      {"\\*", "\\x", true},
      {"[é-ü]", "í", true},
      {"", "", true},
      {"", "a", false},
      {"a.b", "a.b", true},
      {"a.b", "a.bc", false},
      {"ab*", "xab", false},
      {"ab?", "ab", false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.pattern);
    CAPTURE(row.text);
    CHECK(Glob(row.pattern).matches(row.text) == row.matches);
    CHECK(glob_matches(row.pattern, row.text) == row.matches);
  }
}

TEST_CASE("sizes: decimal and binary units, fractions cut off") {
  CHECK(parse_size("5GB") == 5'000'000'000);
  CHECK(parse_size("1.5 gb") == 1'500'000'000);
  CHECK(parse_size(".5KB") == 500);
  CHECK(parse_size("1e3MB") == 1'000'000'000);
  CHECK(parse_size("64MiB") == 67'108'864);
  CHECK(parse_size("3K") == 3000);
  CHECK(parse_size("500") == 500);
  CHECK(parse_size("0.9999KB") == 999);
  CHECK(parse_size("0") == 0);
  for (const char* wrong : {"", "GB", "-1", "5XB", "nan", "1e30TB", "5 G B", "5GBB", "0x10", "infinity"}) {
    CAPTURE(wrong);
    CHECK(error_of([&] { parse_size(wrong); }) == ErrorKind::kUsage);
  }
}

TEST_CASE("sizes: at most four digits") {
  CHECK(format_size(0) == "0 B");
  CHECK(format_size(999) == "999 B");
  CHECK(format_size(1000) == "1.000 KB");
  CHECK(format_size(158'424) == "158.4 KB");
  CHECK(format_size(999'960) == "1.000 MB");
  CHECK(format_size(16'060'522'240) == "16.06 GB");
}
