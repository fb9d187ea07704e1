// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <doctest/doctest.h>

#include "base/text.h"
#include "cli/progress.h"

namespace mu {
namespace {

TEST_CASE("table: columns are aligned by what a terminal shows") {
  Table table("lr");
  table.row({"name", "size"});
  table.row({"模型", "1"});
  table.row({"é", "20"});
  CHECK(table.text(2, 0) == "  name  size\n  模型     1\n  é       20\n");
}

TEST_CASE("table: no blanks at the end of a line, an empty table is empty") {
  Table table("ll");
  table.row({"long name", "x"});
  table.row({"a", ""});
  CHECK(table.text(0, 0) == "long name  x\na\n");
  CHECK(Table("l").text(0, 80).empty());
}

TEST_CASE("table: the first column is shortened to the width, never below what can be read") {
  Table table("lr");
  table.row({std::string(60, 'n'), "123"});
  const std::string cut = table.text(0, 40);
  CHECK(cut == std::string(11, 'n') + "…" + std::string(23, 'n') + "  123\n");
  CHECK(table.text(0, 0) == std::string(60, 'n') + "  123\n");
  CHECK(table.text(0, 5).size() > 16);
}

TEST_CASE("table: a last column of words is wrapped before the first is shortened") {
  Table table("ll");
  table.row({"name", "one two three four five six seven eight"});
  CHECK(table.text(1, 34) == " name  one two three four five six\n       seven eight\n");
  CHECK(table.text(1, 0) == " name  one two three four five six seven eight\n");
}

TEST_CASE("table: names that differ stay different when they are cut") {
  Table table("lr");
  for (const char* middle : {"q_proj", "k_proj", "q_proj"})
    table.row({std::string(30, 'a') + middle + std::string(30, 'b'), "1"});
  const std::string text = table.text(0, 30);
  const std::vector<std::string_view> lines = split(text, '\n');
  CHECK(lines[0] != lines[1]);
  CHECK(lines[0] == lines[2]);
  for (const std::string_view line : lines) CHECK(display_width(line) <= 30);
}

TEST_CASE("table: columns are left out in their order until the rest fits") {
  const auto table = [] {
    Table made("lrrl");
    made.row({"name", "12345678", "123456", "words"});
    made.row({std::string(60, 'n'), "1", "2"});
    return made;
  };
  Table wide = table(), narrow = table(), narrowest = table();
  CHECK(wide.leave_out({1, 2}, 80).empty());
  CHECK(wide.leave_out({1, 2}, 0).empty());
  CHECK(narrow.leave_out({1, 2}, 40) == std::vector<std::size_t>{1});
  CHECK(narrow.text(0, 40) == "name                       123456  words\n" + std::string(8, 'n') + "…" +
                                  std::string(16, 'n') + "       2\n");
  CHECK(narrowest.leave_out({2, 1}, 10) == std::vector<std::size_t>{2, 1});
}

TEST_CASE("progress: per cent, bytes, rate and time left") {
  CHECK(progress_text("packing", 0, 100'000'000, 0) == "packing   0 %  0 B of 100.0 MB  0 B/s");
  CHECK(progress_text("packing", 25'000'000, 100'000'000, 1) ==
        "packing  25 %  25.00 MB of 100.0 MB  25.00 MB/s  3 s left");
  CHECK(progress_text("x", 1'000'000, 126'000'000, 1).ends_with("  2:05 min left"));
  CHECK(progress_text("x", 1'000'000, 10'921'000'000, 1).ends_with("  3:02 h left"));
  CHECK(progress_text("x", 1, 1'000'000'000'000'000, 100).ends_with("  long left"));
  CHECK(progress_text("x", 200, 100, 1).find("100 %") != std::string::npos);
  CHECK(progress_text("reading", 5'000'000, 0, 2) == "reading  5.000 MB  2.500 MB/s");
}

}  // namespace
}  // namespace mu
