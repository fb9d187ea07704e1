// SPDX-License-Identifier: Apache-2.0
#include "base/nearest.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace mu {
namespace {

TEST_CASE("nearest: slips are counted, a swap of neighbours as one") {
  struct Row {
    std::string a, b;
    std::size_t distance;
  };
  const std::vector<Row> table = {
      {"", "", 0},         {"keep", "", 4},         {"", "abc", 3},        {"keep", "keep", 0},
      {"kepp", "keep", 1}, {"dtyp", "dtype", 1},    {"dytpe", "dtype", 1}, {"licence", "license", 1},
      {"ca", "abc", 3},    {"kitten", "sitting", 3}};
  for (const Row& row : table) {
    CAPTURE(row.a);
    CAPTURE(row.b);
    CHECK(edit_distance(row.a, row.b) == row.distance);
    CHECK(edit_distance(row.b, row.a) == row.distance);
  }
}

TEST_CASE("nearest: only what is near is named") {
  const std::vector<std::string> names = {"dtype",  "keep",           "keep-best", "license",   "revision",
                                          "verify", "max-shard-size", "max-total", "no-verify", "include",
                                          "if"};
  const auto near = [&names](std::string_view text) { return nearest_name(text, names).value_or("-"); };
  CHECK(near("dtyp") == "dtype");
  CHECK(near("kepp") == "keep");
  CHECK(near("keep-bets") == "keep-best");
  CHECK(near("licence") == "license");
  CHECK(near("max_shard_size") == "max-shard-size");
  CHECK(near("Keep") == "keep");
  CHECK(near("rev") == "revision");  // its beginning
  CHECK(near("max") == "-");         // several begin like this
  for (const char* far : {"bogus", "kill", "-", "", "x", "no-such-option", "select"}) {
    CAPTURE(far);
    CHECK(near(far) == "-");
  }
  CHECK(near(std::string(100'000, 'k')) == "-");
}

}  // namespace
}  // namespace mu
