// SPDX-License-Identifier: Apache-2.0
#include "model/quant_summary.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/json.h"

using namespace mu;

namespace {

using Shape = std::vector<std::uint64_t>;

struct Row {
  std::string name;
  Dtype dtype;
  Shape shape;
};

QuantSummary summary_of(const std::string& config, const std::vector<Row>& rows) {
  Input input;
  input.quantization = quant_settings(parse_json(config).root);
  for (const Row& row : rows)
    input.weights.tensors.push_back(
        {row.name, row.dtype, row.shape, 0, 0, tensor_bytes(row.dtype, row.shape).bytes});
  const std::optional<QuantSummary> summary = sum_up_quantised(input);
  REQUIRE(summary);
  return *summary;
}

std::string settings(const std::string& members) {
  return R"({"quantization_config":{)" + members + "}}";
}

}  // namespace

TEST_CASE("quantised models summed up: plain shapes and bits follow from headers") {
  using enum Dtype;
  // GPTQ in 3 bits, by its zeros; and in 4 with a permutation.
  QuantSummary s =
      summary_of(settings(R"("quant_method":"gptq","bits":3)"),
                 {{"x.qweight", kI32, {12, 64}}, {"x.qzeros", kI32, {1, 6}}, {"x.scales", kF16, {1, 64}}});
  CHECK(s.modules[0].name == "x.weight");
  CHECK(s.modules[0].shape == Shape{64, 128});
  s = summary_of(settings(R"("quant_method":"gptq")"),
                 {{"x.qweight", kI32, {16, 64}}, {"x.scales", kF16, {1, 64}}, {"x.g_idx", kI32, {128}}});
  CHECK(s.modules[0].shape == Shape{64, 128});
  CHECK(*s.effective_bits() == doctest::Approx(8.0 * (16 * 64 * 4 + 64 * 2 + 128 * 4) / (64 * 128)));
  s = summary_of(settings(R"("quant_method":"awq","bits":4)"),
                 {{"x.qweight", kI32, {128, 8}}, {"x.qzeros", kI32, {1, 8}}, {"x.scales", kF16, {1, 64}}});
  CHECK(s.modules[0].shape == Shape{64, 128});
  // Experts of DeepSeek-V4 are pairs, one scale for 32 values.
  s = summary_of(settings(R"("quant_method":"fp8","weight_block_size":[128,128])"),
                 {{"x.weight", kI8, {64, 64}}, {"x.scale", kF8E8M0, {64, 4}}, {"y.weight", kBF16, {4, 4}}});
  CHECK(s.modules[0].shape == Shape{64, 128});
  CHECK(s.format == "block 128x128");
  CHECK(s.matrices == 2);
  CHECK(s.plain_parameters == 64 * 128 + 16);
  CHECK(s.plain_bytes == 2 * (64 * 128 + 16));
  // MLX, in words; ModelOpt's pairs.
  s = summary_of(R"({"quantization":{"bits":4,"group_size":64}})",
                 {{"x.weight", kU32, {64, 16}}, {"x.scales", kBF16, {64, 2}}, {"x.biases", kBF16, {64, 2}}});
  CHECK(s.modules[0].shape == Shape{64, 128});
  CHECK(s.method == "mlx");
  s = summary_of(
      settings(R"("quant_method":"modelopt","quant_algo":"NVFP4")"),
      {{"x.weight", kU8, {64, 64}}, {"x.weight_scale", kF8E4M3, {64, 8}}, {"x.weight_scale_2", kF32, {}}});
  CHECK(s.modules[0].shape == Shape{64, 128});
  CHECK(s.format == "NVFP4");
}

TEST_CASE("quantised models summed up: what is not known is left out, and sizes don't overflow") {
  using enum Dtype;
  QuantSummary s = summary_of(settings(R"("quant_method":"odd")"),
                              {{"x.weight", kU8, {4, 4}}, {"x.weight_scale", kF32, {4}}});
  CHECK(!s.effective_bits());
  CHECK(s.plain_bytes == 0);
  CHECK(s.modules[0].companions.size() == 1);
  const std::uint64_t huge = 1ULL << 63;
  s = summary_of(settings(R"("quant_method":"modelopt")"),
                 {{"x.weight", kU8, {0, huge}}, {"x.weight_scale", kF32, {4}}});
  CHECK(!s.effective_bits());
  s = summary_of(settings(R"("quant_method":"gptq","bits":0)"),
                 {{"x.qweight", kI32, {4, 4}}, {"x.scales", kF16, {1, 4}}});
  CHECK(!s.effective_bits());
  s = summary_of(settings(R"("quant_method":"gptq","bits":99)"),
                 {{"x.qweight", kI32, {4, 4}}, {"x.scales", kF16, {1, 4}}});
  CHECK(!s.effective_bits());
}
