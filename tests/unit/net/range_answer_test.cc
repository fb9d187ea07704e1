// SPDX-License-Identifier: Apache-2.0
#include "net/range_answer.h"

#include <doctest/doctest.h>

using namespace mu;

TEST_CASE("range answer: Content-Range") {
  const std::optional<ContentRange> range = parse_content_range("bytes 5-99/1000");
  REQUIRE(range);
  CHECK(range->begin == 5);
  CHECK(range->end == 100);
  CHECK(range->total == 1000);
  CHECK(parse_content_range("Bytes 0-0/1"));
  for (const char* text :
       {"", "bytes", "bytes ", "bytes */10", "bytes 0-9/*", "bytes 9-0/10", "bytes 0-10/10", "bytes -1-9/10",
        "bytes 0-9", "items 0-9/10", "bytes 0-9/10 ", "bytes 0x0-9/10", "bytes 0-99999999999999999999/10"}) {
    CAPTURE(text);
    CHECK(parse_content_range(text).has_value() == (std::string_view(text) == "bytes 0-9/10 "));
  }
}

TEST_CASE("range answer: what is good for If-Range") {
  struct Row {
    const char *tag, *modified, *date, *if_range;
    double now = 0;
  };
  const char *then = "Mon, 01 Jan 2024 00:00:00 GMT", *later = "Mon, 01 Jan 2024 00:00:01 GMT";
  for (const Row& row :
       {Row{"\"a\"", then, later, "\"a\""}, Row{"W/\"a\"", then, later, then}, Row{"a", then, then, ""},
        Row{"\"", "", later, ""}, Row{"", then, "", "", 1704067260}, Row{"", then, "", then, 1704067261},
        Row{"", "yesterday", later, ""}}) {
    CAPTURE(row.tag);
    HttpResponse response{206, {{"etag", row.tag}, {"last-modified", row.modified}, {"date", row.date}}, ""};
    CHECK(validators_of(response, row.now).if_range() == row.if_range);
  }
}

TEST_CASE("range answer: what could not be sent back is not held") {
  for (const std::string& text :
       {std::string("a\x01z"), std::string("a\x7Fz"), std::string("a\tz"), std::string(2000, 'a')}) {
    CAPTURE(text);
    const HttpResponse response{206, {{"etag", '"' + text + '"'}, {"last-modified", text}}, ""};
    const Validators found = validators_of(response, 0);
    CHECK(found.tag.empty());
    CHECK(found.modified.empty());
  }
}

TEST_CASE("range answer: versions differ by what both of them say, the tag first") {
  const Validators one{"\"1\"", "Mon", false}, two{"\"2\"", "Mon", false}, same{"\"1\"", "Tue", false},
      dated{"", "Mon", false}, later{"", "Tue", false}, silent{};
  CHECK(one.differ(two));
  CHECK_FALSE(one.differ(same));
  CHECK_FALSE(one.differ(dated));
  CHECK(one.differ(later));
  CHECK(dated.differ(later));
  CHECK_FALSE(dated.differ(silent));
  CHECK_FALSE(silent.differ(one));
}

TEST_CASE("range answer: a hash that stands in an entity tag") {
  CHECK(bare_tag("\"abc\"") == "abc");
  CHECK(bare_tag("W/\"abc\"") == "abc");
  CHECK(bare_tag("abc") == "abc");
  CHECK(bare_tag("\"") == "\"");
}
