// SPDX-License-Identifier: Apache-2.0
// Every row of the conformance matrix: the verdict of the reference reader, and our rule for it.
#include <doctest/doctest.h>

#include "testing.h"
#include "weights/open/open.h"
#include "weights/weights.h"

using namespace mu;
using namespace mu::testing;

namespace {

struct Row {
  std::string header;
  std::size_t data;
  std::string_view level;  // reached: "" (does not load), "loads", "spec" (with a hub finding), "hub"
  std::string_view rule;   // one of the findings; "" when there are none
};

std::string reached(const Findings& findings) {
  std::string best;
  for (const Level level : {Level::kLoads, Level::kSpec, Level::kHub}) {
    if (findings.first_up_to(level) != nullptr) break;
    best = level_name(level);
  }
  return best;
}

void check_rows(const std::vector<Row>& rows) {
  const TempFolder folder;
  for (const Row& row : rows) {
    CAPTURE(row.header.substr(0, 200));
    CAPTURE(row.header.size());
    std::string header = row.header;
    // Rows are about their text, not about padding.
    if (header.size() % 8 != 0 && (header.empty() || header.back() != '#'))
      header.append(8 - header.size() % 8, ' ');
    if (!header.empty() && header.back() == '#') header.pop_back();
    put(folder / "f", safetensors(header, row.data));
    const Weights weights = open_weights(folder / "f");
    CHECK(reached(weights.findings) == row.level);
    if (row.rule.empty()) {
      CHECK(weights.findings.list().empty());
    } else {
      CHECK(weights.findings.count(row.rule) > 0);
    }
  }
}

const std::string kT = R"("t":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]})";

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

std::string nested(std::size_t levels) {
  return std::string(levels, '[') + std::string(levels, ']');
}

std::string with_member(const std::string& value) {
  return R"({"t":{"x":)" + value + R"(,"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})";
}

}  // namespace

TEST_CASE("conformance: length and framing") {
  const TempFolder folder;
  const auto verdict = [&](std::string_view bytes) {
    put(folder / "f", bytes);
    const Weights weights = open_weights(folder / "f");
    return reached(weights.findings) + "/" +
           (weights.findings.list().empty() ? "" : std::string(weights.findings.list()[0].rule));
  };
  const auto framed = [](std::uint64_t n, std::string_view rest) {
    std::string file(8, '\0');
    store_le(reinterpret_cast<std::byte*>(file.data()), n);
    return file.append(rest);
  };
  for (std::size_t size = 0; size < 8; ++size) CHECK(verdict(std::string(size, 'x')) == "/ST-LEN");
  CHECK(verdict(framed(0, "")) == "/ST-JSON");
  CHECK(verdict(framed(0, "0123456789")) == "/ST-JSON");
  CHECK(verdict(framed(100'000'000, "{}")) == "/ST-LEN");
  CHECK(verdict(framed(100'000'001, "{}")) == "/ST-LEN");
  CHECK(verdict(framed(~std::uint64_t{0}, "{}")) == "/ST-LEN");
  CHECK(verdict(framed(1000, "{}")) == "/ST-LEN");
  CHECK(verdict(framed(8, "")) == "/ST-LEN");
  CHECK(verdict(std::string("\x3c\0\0\0\0\xff\xff\xff", 8)) == "/ST-LEN");
  check_rows({
      {"{" + kT + "}", 17, "", "ST-SIZE"},
      {"{" + kT + "}", 15, "", "ST-SIZE"},
      {"{" + kT + "}#", 16, "loads", "ST-PAD"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
       5, "loads", "ST-ALIGN"},
  });
}

TEST_CASE("conformance: top-level JSON") {
  check_rows({
      {"{}", 0, "hub", ""},
      {"{" + kT + "}", 16, "hub", ""},
      {"[]", 0, "", "ST-JSON"},
      {"null", 0, "", "ST-JSON"},
      {"{", 0, "", "ST-JSON"},
      {"  \n{" + kT + "}", 16, "loads", "ST-START"},
      {"\xEF\xBB\xBF{" + kT + "}", 16, "", "ST-JSON"},
      {"{" + kT + "}        ", 16, "hub", ""},
      {"{" + kT + "}\t", 16, "loads", "ST-PAD"},
      {"{" + kT + "}\r\n", 16, "loads", "ST-PAD"},
      {"{" + kT + "}" + std::string(8, '\0'), 16, "", "ST-JSON"},
      {"{" + kT + "}x", 16, "", "ST-JSON"},
      {"{" + kT + "}{}", 16, "", "ST-JSON"},
      {"{" + kT + ",}", 16, "", "ST-JSON"},
      {"{/**/" + kT + "}", 16, "", "ST-JSON"},
      {"{ \"t\" : { \"dtype\" : \"I32\" , \"shape\" : [ 2 , 2 ] , \"data_offsets\" : [ 0 , 16 ] } }", 16,
       "hub", ""},
      {"{\"\xFF\":1}", 0, "", "ST-UTF8"},
      {"{\"\xC0\xAF\":1}", 0, "", "ST-UTF8"},
      {"{\"\xED\xA0\xBD\":1}", 0, "", "ST-UTF8"},
      {with_member(nested(125)), 16, "loads", "ST-MEMBER"},
      {with_member(nested(126)), 16, "", "ST-JSON"},
      {with_member("1e999"), 16, "", "ST-JSON"},
      {with_member("1e-999"), 16, "loads", "ST-MEMBER"},
      {with_member("NaN"), 16, "", "ST-JSON"},
  });
}

TEST_CASE("conformance: names") {
  const std::string entry = R"({"dtype":"I32","shape":[2,2],"data_offsets":[0,16]})";
  check_rows({
      {R"({"t":)" + entry + R"(,"t":)" + entry + "}", 16, "loads", "ST-DUP"},
      {R"({"t":{"dtype":"I32","shape":[4],"data_offsets":[0,16]},"t":)" + entry + "}", 16, "loads", "ST-DUP"},
      {R"({"t":)" + entry + R"(,"t":{"dtype":"I32","shape":[2,2],"data_offsets":[16,32]}})", 32, "",
       "ST-HOLE"},
      {R"({"a":)" + entry + R"(,"\u0061":)" + entry + "}", 16, "loads", "ST-DUP"},
      {R"({"":)" + entry + "}", 16, "loads", "ST-NAME"},
      {R"({"a\u0000":)" + entry + "}", 16, "loads", "ST-NAME"},
      {R"({"../../etc":)" + entry + "}", 16, "hub", ""},
      {R"({"a\/b":)" + entry + "}", 16, "hub", ""},
      {R"({"\ud83d\ude00":)" + entry + "}", 16, "hub", ""},
      {R"({"\ud83d":)" + entry + "}", 16, "", "ST-JSON"},
      {R"({"\x":)" + entry + "}", 16, "", "ST-JSON"},
      {"{\"\x01\":" + entry + "}", 16, "", "ST-JSON"},
      {"{\"\t\":" + entry + "}", 16, "", "ST-JSON"},
      {"{\"\x7F\":" + entry + "}", 16, "hub", ""},
  });
}

TEST_CASE("conformance: __metadata__") {
  const auto with = [](const std::string& value) { return R"({"__metadata__":)" + value + "," + kT + "}"; };
  check_rows({
      {with("{}"), 16, "spec", "ST-FORMAT"},
      {with(R"({"format":"pt"})"), 16, "hub", ""},
      {with(R"({"format":"zz"})"), 16, "spec", "ST-FORMAT"},
      {with("null"), 16, "loads", "ST-META"},
      {"{" + kT + R"(,"__metadata__":{"format":"pt"}})", 16, "hub", ""},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "", "ST-DUP"},
      {with(R"({"format":"tf","format":"pt"})"), 16, "loads", "ST-DUP"},
      {with(R"({"a":1})"), 16, "", "ST-META"},
      {with(R"({"a":null})"), 16, "", "ST-META"},
      {with(R"({"a":{}})"), 16, "", "ST-META"},
      {with(R"({"a":[]})"), 16, "", "ST-META"},
      {with(R"({"a":true})"), 16, "", "ST-META"},
      {with("[]"), 16, "", "ST-META"},
      {with("\"x\""), 16, "", "ST-META"},
      {with("1"), 16, "", "ST-META"},
      {R"({"__metadata__":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})", 16, "", "ST-META"},
      {with(R"({"format":"pt","a":"\u00e9"})"), 16, "hub", ""},
  });
}

TEST_CASE("conformance: tensor entries") {
  check_rows({
      {R"({"t":{"shape":[2,2],"data_offsets":[0,16]}})", 16, "", "ST-MEMBER"},
      {R"({"t":{"dtype":"I32","data_offsets":[0,16]}})", 16, "", "ST-MEMBER"},
      {R"({"t":{"dtype":"I32","shape":[2,2]}})", 16, "", "ST-MEMBER"},
      {R"({"t":"x"})", 0, "", "ST-MEMBER"},
      {R"({"t":null})", 0, "", "ST-MEMBER"},
      {R"({"t":["I32",[2,2],[0,16]]})", 16, "loads", "ST-MEMBER"},
      {R"({"t":["I32",[2,2]]})", 16, "", "ST-MEMBER"},
      {R"({"t":["I32",[2,2],[0,16],1]})", 16, "", "ST-MEMBER"},
      {with_member("1"), 16, "loads", "ST-MEMBER"},
      {with_member("{\"a\":[null,true,\"x\",-1.5e3]}"), 16, "loads", "ST-MEMBER"},
      {R"({"t":{"dtype":"I32","dtype":"I32","shape":[2,2],"data_offsets":[0,16]}})", 16, "", "ST-DUP"},
      {tensor("5", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor("null", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor("\"i32\"", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor("\"Q4\"", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor("\"C128\"", "[2,2]", "[0,64]"), 64, "", "ST-DTYPE"},
      {tensor(R"({"I32":null})", "[2,2]", "[0,16]"), 16, "loads", "ST-DTYPE"},
      {tensor(R"({"I32":{}})", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor(R"({"I32":[]})", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor("{}", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor("[\"I32\"]", "[2,2]", "[0,16]"), 16, "", "ST-DTYPE"},
      {tensor("\"I32\"", "null", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"I32\"", "{}", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[\"2\",2]", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[2.0,2]", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[2e0,2]", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[-2,-2]", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[-0]", "[0,0]"), 0, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[02,2]", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"U8\"", "[18446744073709551616]", "[0,0]"), 0, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[true,2]", "[0,16]"), 16, "", "ST-SHAPE"},
      {tensor("\"I32\"", "[]", "[0,4]"), 4, "hub", ""},
      {tensor("\"U8\"", "[0,18446744073709551615]", "[0,0]"), 0, "loads", "ST-SHAPE"},
      {tensor("\"U8\"", "[18446744073709551615,2,0]", "[0,0]"), 0, "", "ST-OVERFLOW"},
      {tensor("\"U8\"", "[2305843009213693952]", "[0,2305843009213693952]"), 0, "", "ST-OVERFLOW"},
      {tensor("\"U8\"", "[18446744073709551615]", "[0,18446744073709551615]"), 0, "", "ST-OVERFLOW"},
      {tensor("\"I32\"", "[2,18446744073709551614]", "[0,16]"), 16, "", "ST-OVERFLOW"},
      {tensor("\"I32\"", "[2,9223372036854775807]", "[0,16]"), 16, "", "ST-OVERFLOW"},
      {tensor("\"I32\"", "[2,2]", "[0,4]"), 4, "", "ST-RANGE"},
      {tensor("\"F4\"", "[4]", "[0,2]"), 2, "hub", ""},
      {tensor("\"F4\"", "[3]", "[0,2]"), 2, "", "ST-BITS"},
      {tensor("\"F4\"", "[]", "[0,1]"), 1, "", "ST-BITS"},
      {tensor("\"F4\"", "[1,3]", "[0,2]"), 2, "", "ST-BITS"},
      {tensor("\"F6_E2M3\"", "[3]", "[0,3]"), 3, "", "ST-BITS"},
      {tensor("\"F6_E2M3\"", "[4]", "[0,3]"), 3, "hub", ""},
      {tensor("\"F4\"", "[4]", "[0,3]"), 3, "", "ST-RANGE"},
      {tensor("\"U8\"", "[4294967297,0]", "[0,0]"), 0, "spec", "ST-HUB"},
  });
  std::string ones = "[1";
  for (int i = 1; i < 5000; ++i) ones += ",1";
  check_rows({{tensor("\"I32\"", ones + "]", "[0,4]"), 4, "loads", "ST-SHAPE"}});
}

TEST_CASE("conformance: offsets") {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  const auto empty_at = [](const std::string& offset) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[)" +
           offset + "," + offset + "]}}";
  };
  check_rows({
      {tensor("\"I32\"", "[2,2]", "[16]"), 16, "", "ST-MEMBER"},
      {tensor("\"I32\"", "[2,2]", "[0,16,16]"), 16, "", "ST-MEMBER"},
      {tensor("\"I32\"", "[2,2]", "{}"), 16, "", "ST-MEMBER"},
      {tensor("\"I32\"", "[2,2]", "[-16,0]"), 16, "", "ST-MEMBER"},
      {tensor("\"I32\"", "[2,2]", "[16,0]"), 16, "", "ST-RANGE"},
      {tensor("\"I32\"", "[2,2]", "[8,24]"), 24, "", "ST-HOLE"},
      {two("[0,4]", "[8,12]"), 12, "", "ST-HOLE"},
      {two("[0,4]", "[2,6]"), 6, "", "ST-OVERLAP"},
      {two("[0,4]", "[0,4]"), 4, "", "ST-OVERLAP"},
      {two("[4,8]", "[0,4]"), 8, "loads", "ST-ORDER"},
      {empty_at("0"), 4, "loads", "ST-ORDER"},
      {empty_at("4"), 4, "hub", ""},
      {empty_at("2"), 4, "", "ST-OVERLAP"},
  });
  // Eight of 2^61-1 bytes and one up to 2^64-1: sums must not wrap.
  std::string huge = "{";
  std::uint64_t at = 0;
  for (int i = 0; i < 9; ++i) {
    const std::uint64_t end = i < 8 ? at + ((std::uint64_t{1} << 61) - 1) : ~std::uint64_t{0};
    huge += "\"" + std::to_string(i) + R"(":{"dtype":"U8","shape":[)" + std::to_string(end - at) +
            R"(],"data_offsets":[)" + std::to_string(at) + "," + std::to_string(end) + "]},";
    at = end;
  }
  huge.back() = '}';
  check_rows({{huge, 0, "", "ST-OVERFLOW"}});
}
