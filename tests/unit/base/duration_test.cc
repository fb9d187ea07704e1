// SPDX-License-Identifier: Apache-2.0
#include "base/duration.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;
using mu::testing::error_of;

TEST_CASE("duration: what people write") {
  const std::pair<const char*, std::uint32_t> rows[] = {
      {"0", 0},       {"90", 90},     {"90s", 90},       {"15m", 900},     {"2h", 7200},
      {"3d", 259200}, {"1w", 604800}, {"1d12h", 129600}, {"1h1m1s", 3661}, {"4294967295", 4294967295U}};
  for (const auto& [text, seconds] : rows) {
    CAPTURE(text);
    CHECK(parse_duration(text) == seconds);
  }
  for (const char* text :
       {"", "d", "1.5h", "-1d", "+1d", "3y", "3 d", "1d2", "4294967296", "99999999999999999999d", "1D"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_duration(text); }) == ErrorKind::kUsage);
  }
}

TEST_CASE("duration: what people read") {
  const std::pair<std::uint64_t, const char*> rows[] = {{0, "0s"},     {59, "59s"},      {60, "1m"},
                                                        {3599, "59m"}, {3600, "1h"},     {7500, "2h 5m"},
                                                        {86400, "1d"}, {273600, "3d 4h"}};
  for (const auto& [seconds, text] : rows) CHECK(format_duration(seconds) == text);
}
