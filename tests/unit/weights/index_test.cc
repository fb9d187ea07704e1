// SPDX-License-Identifier: Apache-2.0
#include "weights/index.h"

#include <doctest/doctest.h>

#include "testing.h"
#include "weights/open/open.h"
#include "weights/weights.h"

using namespace mu;
using namespace mu::testing;

namespace {

ShardIndex parse(const std::string& text) {
  Findings findings;
  return parse_shard_index(text, "i.json", findings);
}

std::string one_tensor(const std::string& name) {
  std::string header = R"({")" + name + R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return safetensors(header, 4);
}

// A folder with two shards and an index of this map and size.
Findings findings_of(const std::string& weight_map, const std::string& total) {
  const TempFolder folder;
  put(folder / "m-00001-of-00002.safetensors", one_tensor("a"));
  put(folder / "m-00002-of-00002.safetensors", one_tensor("b"));
  put(folder / "m.safetensors.index.json",
      R"({"metadata":{"total_size":)" + total + R"(},"weight_map":{)" + weight_map + "}}");
  return open_sharded(folder / "m.safetensors.index.json").findings;
}

const std::string kGood = R"("a":"m-00001-of-00002.safetensors","b":"m-00002-of-00002.safetensors")";

}  // namespace

TEST_CASE("index: names that lead out are not followed") {
  for (const char* name : {"../x.safetensors", "/etc/x", "a/../../x", "a\\\\b", "c:x", "http://h/x",
                           "a%2e%2e/x", "%2Fx", "a\\u0000b", "", "./x", "a//b"}) {
    CAPTURE(name);
    CHECK(error_of([&] { parse(std::string(R"({"weight_map":{"t":")") + name + "\"}}"); }) ==
          ErrorKind::kMalformed);
  }
  CHECK(parse(R"({"weight_map":{"t":"sub/x.safetensors"}})").shards ==
        std::vector<std::string>{"sub/x.safetensors"});
}

TEST_CASE("index: anything but an index is refused") {
  for (const char* text :
       {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})", "{\"weight_map\":{}"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse(text); }) == ErrorKind::kMalformed);
  }
}

TEST_CASE("index: duplicates, float sizes") {
  Findings findings;
  const ShardIndex index = parse_shard_index(
      R"({"metadata":{"total_size":12.0},"weight_map":{"a":"x","b":"y","a":"z"}})", "i", findings);
  CHECK(index.total_size == 12);
  CHECK(findings.count("IX-DUP") == 1);
  REQUIRE(index.weight_map.size() == 2);
  CHECK(index.weight_map[1] == std::pair<std::string, std::string>("a", "z"));
}

TEST_CASE("index: it is compared with the shards in both directions") {
  CHECK(findings_of(kGood, "8").list().empty());
  CHECK(findings_of(kGood, "9").count("IX-TOTAL") == 1);
  CHECK(findings_of(R"("a":"m-00001-of-00002.safetensors","c":"m-00002-of-00002.safetensors")", "8")
            .count("IX-MISSING") == 1);
  CHECK(findings_of(R"("a":"m-00001-of-00002.safetensors","c":"m-00002-of-00002.safetensors")", "8")
            .count("IX-EXTRA") == 1);
  CHECK(findings_of(R"("a":"m-00002-of-00002.safetensors","b":"m-00001-of-00002.safetensors")", "8")
            .count("IX-MISSING") == 2);
  CHECK(findings_of(R"("a":"m-00001-of-00002.safetensors")", "4").count("IX-COUNT") == 1);
  const Findings missing = findings_of(kGood + R"(,"c":"m-00003-of-00003.safetensors")", "8");
  CHECK(missing.count("IX-SHARD") == 1);
  CHECK(error_of([&] { missing.throw_if_unloadable(); }) == ErrorKind::kMalformed);
}

TEST_CASE("index: a tensor in two shards is seen") {
  const TempFolder folder;
  put(folder / "a", one_tensor("t"));
  put(folder / "b", one_tensor("t"));
  CHECK(open_files({folder / "a", folder / "b"}).findings.count("IX-TWICE") == 1);
}

TEST_CASE("index: it is written as json.dump with indent 2") {
  CHECK(write_shard_index({{"total_size", "12"}, {"k", "\"v\""}}, {{"é", "f"}}) ==
        "{\n  \"metadata\": {\n    \"total_size\": 12,\n    \"k\": \"v\"\n  },\n  \"weight_map\": {\n    "
        "\"\\u00e9\": \"f\"\n  }\n}");
}
