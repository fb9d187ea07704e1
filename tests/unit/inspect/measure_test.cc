// SPDX-License-Identifier: Apache-2.0
#include "inspect/measure.h"

#include <doctest/doctest.h>

#include <random>

#include "inspect/diff.h"
#include "inspect/report.h"
#include "testing.h"
#include "weights/open/open.h"
#include "weights/safetensors.h"

using namespace mu;
using namespace mu::testing;

namespace {

// One tensor of several stretches and many small ones.
void make_file(const std::string& path) {
  constexpr std::uint64_t kLarge = 40U << 20;
  std::vector<TensorSpec> specs = {{"large", Dtype::kBF16, {kLarge / 2}, kLarge}};
  for (int i = 0; i < 20; ++i) specs.push_back({"small." + std::to_string(i), Dtype::kF32, {5}, 20});
  std::string file = safetensors_prefix(specs, safetensors_order(specs), std::nullopt);
  std::mt19937 random(3);
  const std::size_t begin = file.size();
  file.resize(begin + kLarge + 20 * 20);
  for (std::size_t i = begin; i + 2 <= file.size(); i += 2) {
    store_le(reinterpret_cast<std::byte*>(file.data() + i),
             static_cast<std::uint16_t>(0x3C00 + random() % 0x300));
  }
  put(path, file);
}

}  // namespace

TEST_CASE("measure: digits do not depend on the number of threads") {
  const TempFolder folder;
  make_file(folder / "f");
  const Weights weights = open_weights(folder / "f");
  std::vector<const Tensor*> tensors;
  for (const Tensor& tensor : weights.tensors) tensors.push_back(&tensor);
  std::vector<std::string> texts;
  for (const unsigned threads : {1U, 2U, 5U}) {
    Progress progress("", 0, false);
    std::string text;
    const TensorStats total = measure_stats(weights, tensors, threads, progress,
                                            [&](const Tensor& tensor, const TensorStats& stats) {
                                              text += tensor.name + stats_json(tensor.dtype, stats);
                                            });
    text += stats_json(Dtype::kBF16, total);
    const Hashes hashes = measure_hashes(weights, tensors, threads, progress);
    for (const std::string& hash : hashes.tensors) text += hash;
    texts.push_back(text + hashes.content + hashes.files[0]);
  }
  CHECK(texts[0] == texts[1]);
  CHECK(texts[0] == texts[2]);
  // Tensors are reported in the order of the list.
  CHECK(texts[0].find("small.19") > texts[0].find("small.0"));
}

TEST_CASE("diff: names, shapes, dtypes, values, ties") {
  const TempFolder folder;
  const auto input = [&folder](const std::string& name, const std::string& header, const std::string& data) {
    std::string file = safetensors(header, 0) + data;
    put(folder / name, file);
    return open_input(folder / name, StreamData::kCount);
  };
  const auto entry = [](const std::string& name, const std::string& dtype, const std::string& shape,
                        int begin, int end) {
    return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" +
           std::to_string(begin) + "," + std::to_string(end) + "]}";
  };
  const std::string one("\0\0\x80\x3f", 4);
  const std::string two("\0\0\0\x40", 4);
  const Input a = input("a",
                        "{" + entry("m.x", "F32", "[1]", 0, 4) + "," + entry("m.y", "F32", "[1]", 4, 8) +
                            "," + entry("only", "F32", "[1]", 8, 12) + "}",
                        one + one + one);
  const Input b = input(
      "b", "{" + entry("x", "F32", "[1]", 0, 4) + "," + entry("y", "F32", "[1]", 4, 8) + "}", one + two);
  Progress progress("", 0, false);
  DiffOptions options;
  options.map = {Rename("s/^m\\.//")};
  const Diff diff = diff_inputs(a, b, options, 2, progress);
  CHECK(diff.count(DiffKind::kEqual) == 1);
  CHECK(diff.count(DiffKind::kValues) == 1);
  CHECK(diff.count(DiffKind::kOnlyInA) == 1);
  CHECK_FALSE(diff.same());
  options.tolerance = {0.5, 0};
  CHECK(diff_inputs(a, b, options, 2, progress).count(DiffKind::kEqual) == 2);

  const Input half =
      input("half", "{" + entry("x", "BF16", "[1]", 0, 2) + "," + entry("y", "BF16", "[1]", 2, 4) + "}",
            std::string("\x80\x3f\x00\x40", 4));
  CHECK(diff_inputs(b, half, {}, 1, progress).count(DiffKind::kDtype) == 2);
  DiffOptions any_dtype;
  any_dtype.ignore_dtype = true;
  CHECK(diff_inputs(b, half, any_dtype, 1, progress).same());

  const Input tied = input("tied", "{" + entry("model.embed_tokens.weight", "F32", "[1]", 0, 4) + "}", one);
  const auto with_head = [&](const std::string& data) {
    return input("head",
                 "{" + entry("lm_head.weight", "F32", "[1]", 0, 4) + "," +
                     entry("model.embed_tokens.weight", "F32", "[1]", 4, 8) + "}",
                 data + one);
  };
  CHECK(diff_inputs(with_head(one), tied, {}, 1, progress).same());
  CHECK(diff_inputs(tied, with_head(one), {}, 1, progress).same());
  CHECK(diff_inputs(with_head(two), tied, {}, 1, progress).count(DiffKind::kOnlyInA) == 1);
}
