// SPDX-License-Identifier: Apache-2.0
#include "pack/metadata.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

Weights with_metadata(const std::vector<Metadata>& files) {
  Weights weights;
  for (const Metadata& metadata : files) {
    WeightsFile file;
    file.name = "file-" + std::to_string(weights.files.size() + 1);
    file.metadata = metadata;
    weights.files.push_back(std::move(file));
  }
  return weights;
}

Metadata united(const std::vector<Metadata>& files, const MetadataChanges& changes = {}) {
  return output_metadata(with_metadata(files), {}, {}, changes);
}

}  // namespace

TEST_CASE("metadata: the union of all files") {
  CHECK(united({}) == Metadata{{"format", "pt"}});
  CHECK(united({{{"a", "1"}}, {{"b", "2"}, {"a", "1"}}}) ==
        Metadata{{"a", "1"}, {"b", "2"}, {"format", "pt"}});
  CHECK(united({{{"format", "mlx"}}, {{"format", "pt"}}}) == Metadata{{"format", "mlx"}});
}

TEST_CASE("metadata: lists of tensors' names become one list, in order") {
  const Metadata joined = united(
      {{{"tensor_names", R"(["b", "a"])"}}, {{"tensor_names", R"(["c","a"])"}}, {{"tensor_names", "[]"}}});
  CHECK(joined.at("tensor_names") == R"(["b", "a", "c"])");
  CHECK(united({{{"tensor_names", R"(["x","y"])"}}}).at("tensor_names") == R"(["x","y"])");
  CHECK(error_of([] { united({{{"tensor_names", "x"}}, {{"tensor_names", "[]"}}}); }) == ErrorKind::kRefused);
}

TEST_CASE("metadata: the lists of many files are joined in time that grows with their names") {
  std::vector<Metadata> files;
  for (int i = 0; i < 3'000; ++i) {
    std::string names;
    for (int k = 0; k < 30; ++k) names += fmt::format(R"({}"layers.{}.{}")", k == 0 ? "" : ",", i, k);
    files.push_back({{"tensor_names", "[" + names + "]"}});
  }
  CHECK(united(files).at("tensor_names").ends_with(R"("layers.2999.28", "layers.2999.29"])"));
}

TEST_CASE("metadata: a key with two values is refused unless it is settled") {
  const std::vector<Metadata> files = {{{"run", "1"}}, {{"run", "2"}}};
  CHECK(error_of([&] { united(files); }) == ErrorKind::kRefused);
  CHECK(united(files, {{"run", "3"}}).at("run") == "3");
  CHECK_FALSE(united(files, {{"run", std::nullopt}}).contains("run"));
  CHECK(error_of([&] { united(files, {{"other", "3"}}); }) == ErrorKind::kRefused);
}
