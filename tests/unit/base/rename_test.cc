// SPDX-License-Identifier: Apache-2.0
#include "base/rename.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;
using mu::testing::error_of;

TEST_CASE("rename: as sed -E does") {
  struct Row {
    const char* rule;
    const char* name;
    const char* result;  // of sed -E
  };
  const Row rows[] = {
      {R"(s/^module\.//)", "module.a.module.b", "a.module.b"},
      {R"(s/\./_/)", "a.b.c", "a_b.c"},
      {R"(s/\./_/g)", "a.b.c", "a_b_c"},
      {R"(s|layers\.([0-9]+)|h.\1|)", "model.layers.12.w", "model.h.12.w"},
      {"s/b/[&]/g", "abcb", "a[b]c[b]"},
      {R"(s/b/\&/)", "abc", "a&c"},
      {R"(s/(a)(b)?/\2\1/)", "ac", "ac"},
      {R"(s#a\#b#x#)", "a#b", "x"},
      {"s/x*/-/g", "abc", "-a-b-c-"},
      {"s/^a/b/g", "aaa", "baa"},
      {"s/z/y/", "abc", "abc"},
      {"s/$/.x/", "abc", "abc.x"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.rule);
    CHECK(Rename(row.rule).apply(row.name) == row.result);
  }
}

TEST_CASE("rename: anything but a substitution is refused") {
  for (const char* wrong :
       {"", "s", "a/b/c/", "s/a/b", "s//b/", "s/a/b/x", "s/(a/b/", R"(s/a/\1/)", "s/a/b/c/d"}) {
    CAPTURE(wrong);
    CHECK(error_of([&] { Rename rule(wrong); }) == ErrorKind::kUsage);
  }
}
