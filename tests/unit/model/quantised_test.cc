// SPDX-License-Identifier: Apache-2.0
#include "model/quantised.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/json.h"

using namespace mu;

namespace {

struct Row {
  std::string name;
  Dtype dtype;
  QuantRole role;
  QuantFamily family = QuantFamily::kNone;
};

void check_rows(const std::vector<Row>& rows) {
  std::vector<Tensor> tensors;
  for (const Row& row : rows) tensors.push_back({row.name, row.dtype, {4, 4}, 0, 0, 0});
  const std::vector<QuantPart> parts = quant_parts(tensors);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(rows[i].name);
    CHECK(parts[i].role == rows[i].role);
    CHECK(parts[i].family == rows[i].family);
  }
}

constexpr QuantRole kPlain = QuantRole::kPlain, kWeight = QuantRole::kWeight, kScale = QuantRole::kScale,
                    kMarker = QuantRole::kMarker;
using F = QuantFamily;

}  // namespace

TEST_CASE("quantised: a long name of a scale costs no more than its length") {
  std::vector<Row> rows;
  for (int i = 0; i < 100; ++i) rows.push_back({"m" + std::to_string(i) + ".weight", Dtype::kF8E4M3, kPlain});
  std::string name = "x";
  for (int i = 0; i < 1'000'000; ++i) name += "_a";
  rows.push_back({name + "_scale", Dtype::kF32, kPlain});
  check_rows(rows);
}

TEST_CASE("quantised: all companions of a bitsandbytes weight belong to its module") {
  for (const std::string weight : {"a.weight", "a.experts.up_proj"}) {
    std::vector<Tensor> tensors{{weight, Dtype::kU8, {8, 1}, 0, 0, 0}};
    for (const char* const ending :
         {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4"})
      tensors.push_back({weight + ending, Dtype::kU8, {4}, 0, 0, 0});
    const std::vector<QuantPart> parts = quant_parts(tensors);
    for (const QuantPart& part : parts) {
      CHECK(part.module == parts[0].module);
      CHECK(part.has_partner);
    }
  }
}

TEST_CASE("quantised: weights and companions by library") {
  check_rows({{"a.weight", Dtype::kF8E4M3, kWeight, F::kScaled},
              {"a.weight_scale_inv", Dtype::kF32, kScale, F::kScaled},
              {"norm.weight", Dtype::kBF16, kPlain}});
  check_rows({{"a.weight_packed", Dtype::kU8, kWeight, F::kPacked},
              {"a.weight_scale", Dtype::kF8E4M3, kScale, F::kPacked},
              {"a.weight_global_scale", Dtype::kF32, kScale, F::kPacked},
              {"a.weight_shape", Dtype::kI64, kScale, F::kPacked}});
  check_rows({{"a.qweight", Dtype::kI32, kWeight, F::kGptq},
              {"a.qzeros", Dtype::kI32, kScale, F::kGptq},
              {"a.scales", Dtype::kF16, kScale, F::kGptq},
              {"a.g_idx", Dtype::kI32, kScale, F::kGptq},
              {"a.bias", Dtype::kF16, kPlain}});
  check_rows({{"a.weight", Dtype::kI8, kWeight, F::kBitsandbytes},
              {"a.SCB", Dtype::kF32, kScale, F::kBitsandbytes},
              {"a.weight_format", Dtype::kU8, kMarker, F::kBitsandbytes}});
  check_rows({{"a.weight", Dtype::kU8, kWeight, F::kBitsandbytes},
              {"a.weight.absmax", Dtype::kU8, kScale, F::kBitsandbytes},
              {"a.weight.nested_quant_map", Dtype::kF32, kScale, F::kBitsandbytes},
              {"a.weight.quant_state.bitsandbytes__nf4", Dtype::kU8, kScale, F::kBitsandbytes}});
  check_rows({{"a.weight", Dtype::kBF16, kWeight, F::kBitsandbytes},  // bnb_4bit_quant_storage
              {"a.weight.absmax", Dtype::kF32, kScale, F::kBitsandbytes},
              {"b.weight", Dtype::kBF16, kPlain}});
  check_rows({{"a._weight_qdata", Dtype::kI8, kWeight, F::kTorchao},
              {"a._weight_scale", Dtype::kF32, kScale, F::kTorchao}});
  check_rows({{"e.up_blocks", Dtype::kU8, kWeight, F::kBlocks},
              {"e.up_scales", Dtype::kU8, kScale, F::kBlocks},
              {"e.up_bias", Dtype::kBF16, kPlain},
              {"e.down_blocks", Dtype::kU8, kPlain}});
  check_rows({{"a.weight", Dtype::kF8E4M3, kWeight, F::kComfy},
              {"a.scale_weight", Dtype::kF32, kScale, F::kComfy},
              {"b.weight", Dtype::kF8E4M3, kPlain},
              {"scaled_fp8", Dtype::kF8E4M3, kMarker, F::kComfy}});
  check_rows({{"a.weight", Dtype::kU32, kWeight, F::kScaled},
              {"a.scales", Dtype::kF16, kScale, F::kScaled},
              {"a.biases", Dtype::kF16, kScale, F::kScaled}});
}

TEST_CASE("quantised: spellings that no table holds are told by their neighbours") {
  for (const char* scale : {"a.w_scale", "a.scale", "a.scale_inv", "a.weight_zp", "a.w_zeros",
                            "a.weight._scale", "a.qscale_weight", "a.ABSMAX", "a.dequant_scale",
                            "a.input_scale_ub", "a.wscales", "a.per_channel_zeros", "a.codebooks"}) {
    check_rows({{"a.weight", Dtype::kI8, kWeight, F::kScaled}, {scale, Dtype::kF32, kScale, F::kScaled}});
  }
  check_rows({{"e.w13", Dtype::kF8E4M3, kWeight, F::kScaled},
              {"e.w13_scale", Dtype::kF32, kScale, F::kScaled},
              {"e.w2", Dtype::kF8E4M3, kPlain}});
  check_rows({{"e.up_proj", Dtype::kI8, kWeight, F::kScaled},
              {"e.up_proj_dequant_scale", Dtype::kF32, kScale, F::kScaled},
              {"e.down_proj", Dtype::kI8, kPlain},
              {"e.down", Dtype::kF32, kPlain}});
  check_rows(
      {{"a.q_weight", Dtype::kI32, kWeight, F::kScaled}, {"a.q_scale_max", Dtype::kF16, kScale, F::kScaled}});
  check_rows(
      {{"a.codes", Dtype::kI8, kWeight, F::kScaled}, {"a.codebooks", Dtype::kF16, kScale, F::kScaled}});
  check_rows({{"a.W_q", Dtype::kU8, kWeight, F::kScaled}, {"a.zero", Dtype::kF16, kScale, F::kScaled}});
  check_rows({{"a.weight._data", Dtype::kI8, kWeight, F::kScaled},
              {"a.weight._scale", Dtype::kF32, kScale, F::kScaled}});
}

TEST_CASE("quantised: what only sounds like a scale is plain") {
  check_rows({{"logit_scale", Dtype::kF32, kPlain},
              {"norm.scale", Dtype::kBF16, kPlain},
              {"a.weight", Dtype::kF8E4M3, kPlain},
              {"layer.layer_scale_parameter", Dtype::kF32, kPlain},
              {"attn.logit_scale", Dtype::kF32, kPlain},
              {"attn.bias", Dtype::kU8, kPlain},
              {"scale_shift_table", Dtype::kF32, kPlain},
              {"bert.embeddings.position_ids", Dtype::kI64, kPlain}});
  // A whole model in fp8, a parameter called scale among it.
  check_rows({{"a.weight", Dtype::kF8E4M3, kPlain}, {"a.scale", Dtype::kF8E4M3, kPlain}});
}

TEST_CASE("quantised: what a config says, at any depth") {
  const auto settings = [](const char* text) { return quant_settings(parse_json(text).root); };
  CHECK_FALSE(settings(R"({"quantization_config":null,"text_config":{"dtype":"bfloat16"}})").has_value());
  CHECK(settings(R"({"quantization_config":{}})")->method.empty());
  const auto nested = settings(R"({"text_config":{"quantization_config":{"quant_method":"fp8"}}})");
  REQUIRE(nested.has_value());
  CHECK(nested->place == "text_config.quantization_config");
  CHECK(nested->method == "fp8");
  CHECK(nested->stores_scales);
  CHECK(settings(R"({"compression_config":{"config_groups":{"g":{"weights":{"num_bits":8}}}}})")
            ->stores_scales);
  CHECK_FALSE(settings(R"({"quantization_config":{"quant_method":"compressed-tensors","config_groups":{}}})")
                  ->stores_scales);
  CHECK(settings(R"({"quantization":{"group_size":64,"bits":4}})")->method == "mlx");
  CHECK_FALSE(settings(R"({"quantization":{"group_size":64}})").has_value());
  CHECK_FALSE(settings(R"({"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":false}})")
                  ->stores_scales);
  CHECK(modelopt_settings(parse_json(R"({"quantization":{"quant_algo":"FP8"}})").root)->stores_scales);
  CHECK_FALSE(modelopt_settings(parse_json(R"({"producer":{}})").root).has_value());
}

TEST_CASE("quantised: what bitsandbytes says of a weight belongs to its module") {
  const std::vector<Tensor> tensors = {{"a.weight", Dtype::kU8, {8, 1}, 0, 0, 0},
                                       {"a.weight.absmax", Dtype::kF32, {1}, 0, 0, 0},
                                       {"a.weight.quant_state.bitsandbytes__nf4", Dtype::kU8, {90}, 0, 0, 0}};
  for (const QuantPart& part : quant_parts(tensors)) CHECK(part.module == "a");
}
