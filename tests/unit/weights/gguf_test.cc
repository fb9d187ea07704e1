// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "assembler.h"
#include "testing.h"
#include "weights/layout.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string text(const std::string& value) {
  return le(std::uint64_t{value.size()}) + value;
}
std::string pair(const std::string& key, std::uint32_t type, const std::string& value) {
  return text(key) + le(type) + value;
}
std::string array(std::uint32_t type, std::uint64_t count, const std::string& items) {
  return le(type) + le(count) + items;
}
std::string tensor(const std::string& name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
                   std::uint64_t offset) {
  std::string out = text(name) + le(static_cast<std::uint32_t>(dims.size()));
  for (const std::uint64_t n : dims) out += le(n);
  return out + le(type) + le(offset);
}
std::string gguf(const std::vector<std::string>& pairs, const std::vector<std::string>& tensors,
                 const std::string& data = "") {
  std::string out =
      "GGUF" + le(std::uint32_t{3}) + le(std::uint64_t{tensors.size()}) + le(std::uint64_t{pairs.size()});
  for (const std::string& each : pairs) out += each;
  for (const std::string& each : tensors) out += each;
  out.append((32 - out.size() % 32) % 32, '\0');
  return out + data;
}

Weights open_gguf(const std::string& bytes) {
  const TempFolder folder;
  put(folder / "x.gguf", bytes);
  Weights weights;
  add_gguf(weights, InputFile(folder / "x.gguf"));
  return weights;
}
std::string error_of_gguf(const std::string& bytes) {
  try {
    open_gguf(bytes);
    return "";
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kMalformed);
    return error.message();
  }
}
bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

constexpr std::uint32_t kString = 8, kArray = 9;

}  // namespace

TEST_CASE("gguf: key/values, tensors and their sizes") {
  const std::string words = array(kString, 10,
                                  text("a") + text("b") + text("c") + text("d") + text("e") + text("f") +
                                      text("g") + text("h") + text("i") + text("j"));
  const Weights weights =
      open_gguf(gguf({pair("n", 4, le(std::uint32_t{7})), pair("w", kArray, words), pair("after", 7, "\1")},
                     {tensor("q", {64, 2}, 2, 0), tensor("f", {3}, 0, 96)}, std::string(108, 'x')));
  const Metadata& metadata = *weights.files[0].metadata;
  CHECK(metadata.at("n") == "7");
  CHECK(metadata.at("w") == "[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", … 10 in all]");
  CHECK(metadata.at("after") == "true");
  CHECK(weights.tensors[0].shape == std::vector<std::uint64_t>{2, 64});
  CHECK(type_text(weights.tensors[0]) == "q4_0");
  CHECK(weights.tensors[0].size == 72);
  CHECK(weights.tensors[1].dtype == Dtype::kF32);
}

TEST_CASE("gguf: counts, lengths and offsets that lie") {
  const auto head = [](std::uint64_t tensors, std::uint64_t pairs) {
    return "GGUF" + le(std::uint32_t{3}) + le(tensors) + le(pairs) + std::string(4096, '\0');
  };
  CHECK(has(error_of_gguf(head(~0ULL, 0)), "more than it can hold"));
  CHECK(has(error_of_gguf(head(0, ~0ULL)), "more than it can hold"));
  CHECK(has(error_of_gguf(gguf({pair("k", kString, le(~0ULL))}, {})), "a text of"));
  CHECK(has(error_of_gguf(gguf({pair("k", kArray, array(4, ~0ULL, ""))}, {})), "an array counts"));
  CHECK(has(error_of_gguf(gguf({pair("k", kArray, array(kString, 1ULL << 40, ""))}, {})), "an array counts"));
  CHECK(has(error_of_gguf(gguf({pair("k", 99, "")}, {})), "value type 99"));
  CHECK(has(error_of_gguf(gguf({}, {tensor("t", {1ULL << 40}, 0, 0)})), "reaches beyond"));
  CHECK(has(error_of_gguf(gguf({}, {tensor("t", {1ULL << 40, 1ULL << 40}, 0, 0)})), "overflows"));
  CHECK(has(error_of_gguf(gguf({}, {tensor("t", {1}, 0, 32ULL << 50)})), "reaches beyond"));
  CHECK(has(error_of_gguf(gguf({}, {tensor("t", {1}, 0, 7)})), "not aligned"));
  CHECK(has(error_of_gguf(gguf({}, {tensor("t", {33}, 2, 0)})), "don't fill blocks"));
  CHECK(has(error_of_gguf(gguf({}, {tensor("t", {}, 0, 0), tensor("t", {}, 0, 0)}, std::string(64, 'x'))),
            "two tensors"));
  for (const std::uint32_t alignment : {0U, 7U}) {
    CHECK(has(error_of_gguf(gguf({pair("general.alignment", 4, le(alignment))}, {})), "alignment"));
  }
  std::string deep = array(4, 0, "");
  for (int i = 0; i < 6; ++i) deep = array(kArray, 1, deep);
  CHECK(has(error_of_gguf(gguf({pair("k", kArray, deep)}, {})), "nested too deeply"));
  const std::string whole = gguf({pair("k", kString, text("v"))}, {tensor("t", {1}, 0, 0)}, "1234");
  CHECK(error_of_gguf(whole).empty());
  for (std::size_t size = 4; size < whole.size(); ++size)
    CHECK_FALSE(error_of_gguf(whole.substr(0, size)).empty());
}

TEST_CASE("gguf: what is kept of values has a ceiling") {
  // Eight items per list, four levels: 4096 texts of 60 KB if all were kept.
  std::string nested = text(std::string(60'000, 's'));
  std::string level = array(kString, 2, nested + nested);
  level = array(kArray, 2, level + level);
  const Weights weights = open_gguf(gguf({pair("k", kArray, level)}, {}));
  CHECK(weights.files[0].metadata->at("k").size() < 5000);
  std::vector<std::string> pairs;
  for (int i = 0; i < 9000; ++i)
    pairs.push_back(pair(std::to_string(i), kString, text(std::string(4000, 'v'))));
  std::size_t total = 0;
  const Weights many = open_gguf(gguf(pairs, {}));
  for (const auto& [key, value] : *many.files[0].metadata) total += value.size();
  CHECK(total < (18U << 20));
}

TEST_CASE("gguf: counts in the hole of a sparse file end soon") {
  const TempFolder folder;
  put(folder / "x.gguf", gguf({pair("k", kArray, array(kString, 1ULL << 30, ""))}, {}));
  std::filesystem::resize_file(folder / "x.gguf", 1ULL << 40);
  Weights weights;
  CHECK(error_of([&] { add_gguf(weights, InputFile(folder / "x.gguf")); }) == ErrorKind::kMalformed);
}
