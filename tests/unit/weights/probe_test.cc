// SPDX-License-Identifier: Apache-2.0
#include "weights/open/probe.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

FileProbe probe(const std::string& text, FileProbe (*how)(const InputFile&) = probe_safetensors) {
  const TempFolder folder;
  put(folder / "f", text);
  return how(InputFile(folder / "f"));
}

}  // namespace

TEST_CASE("probe: safetensors by their ends, however the header is written") {
  const char* const headers[] = {
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
      R"({"b": {"data_offsets" : [ 8 , 12 ], "dtype": "F32", "shape": [1]}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}  )",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":\n[0,12]}}",
      R"({"data_offsets":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"__metadata__":{"x":"\"data_offsets\":[0,99]"}})",
      R"({"__metadata__":{"data_offsets":"x"},"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})"};
  for (const char* header : headers) {
    CAPTURE(header);
    CHECK(probe(safetensors(header, 12)).fault == "");
    CHECK(probe(safetensors(header, 12)).data_bytes == 12);
    CHECK(probe(safetensors(header, 11)).fault != "");
    CHECK(probe(safetensors(header, 13)).fault != "");
  }
  CHECK(probe(safetensors(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]})", 12)).fault !=
        "");  // no end
  CHECK(probe(safetensors("{}", 0)).data_bytes == 0);
  CHECK(probe("").fault != "");
  CHECK(probe("1234567").fault != "");
}

TEST_CASE("probe: real files, cut at every byte") {
  const std::string folder = std::string(MU_FIXTURES) + "/full-run/checkpoint-40/";
  const std::string scheduler = get(folder + "scheduler.pt");
  CHECK(probe(scheduler, probe_torch).fault == "");
  for (std::size_t size = 0; size < scheduler.size(); ++size) {
    CAPTURE(size);
    CHECK(probe(scheduler.substr(0, size), probe_torch).fault != "");
  }
  CHECK(probe(scheduler + "x", probe_torch).fault != "");
  CHECK(probe(std::string(1000, '\0'), probe_torch).fault != "");
  CHECK(probe(get(std::string(MU_FIXTURES) + "/torch/legacy.pt"), probe_torch).fault == "");
  CHECK(probe(get(std::string(MU_FIXTURES) + "/torch/unsafe-plain.pkl"), probe_torch).fault == "");
  const std::string model = get(std::string(MU_FIXTURES) + "/tied/model.safetensors");
  CHECK(probe(model).fault == "");
  for (std::size_t size = 0; size < model.size(); size += size < 3000 ? 1 : 501)
    CHECK(probe(model.substr(0, size)).fault != "");
}

TEST_CASE("probe: deeply, pickles that end early and checksums that don't fit") {
  const std::string path = std::string(MU_FIXTURES) + "/full-run/checkpoint-40/optimizer.pt";
  std::string warning;
  CHECK(probe_deeply(path, warning).fault == "");
  CHECK(warning == "");
  const TempFolder folder;
  std::string text = get(path);
  text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 1);
  put(folder / "optimizer.pt", text);
  CHECK(probe_deeply(folder / "optimizer.pt", warning).fault == "");
  CHECK(warning.find("1 of ") == 0);
}
