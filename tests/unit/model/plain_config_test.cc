// SPDX-License-Identifier: Apache-2.0
#include "model/plain_config.h"

#include <doctest/doctest.h>

#include <string>

namespace mu {
namespace {

std::string edited(const std::string& text, Dtype dtype) {
  return with_config_edits(text, plain_config_edits(parse_json(text).root, dtype));
}

Dtype stated(std::string text) {
  Input input;
  input.config = parse_model_config(std::move(text));
  return stated_plain_dtype(input);
}

TEST_CASE("plain_config: the type is that of the language model, whatever towers have") {
  CHECK(stated(R"({"torch_dtype": "float16", "text_config": {"dtype": "float32"}})") == Dtype::kF16);
  CHECK(stated(R"({"vision_config": {"dtype": "float32"}, "text_config": {"dtype": "float16"}})") ==
        Dtype::kF16);
  CHECK(stated(R"({"t": {"l": {"dtype": "float16", "quantization_config": {}}}})") == Dtype::kF16);
  CHECK(stated(R"({"vision_config": {"dtype": "float32"}})") == Dtype::kBF16);
  CHECK(stated(R"({"dtype": "float8_e4m3fn", "text_config": 3})") == Dtype::kBF16);
  CHECK(stated_plain_dtype(Input()) == Dtype::kBF16);
}

TEST_CASE("plain_config: the settings go wherever they stand, and dtype is set where it stood") {
  CHECK(edited(R"({"dtype": "float16", "quantization_config": {"a": {}}})", Dtype::kBF16) ==
        R"({"dtype": "bfloat16"})");
  CHECK(edited(R"({"torch_dtype": "bfloat16", "compression_config": {}})", Dtype::kBF16) ==
        R"({"torch_dtype": "bfloat16"})");
  CHECK(
      edited(
          R"({"a": 1, "text_config": {"dtype": null, "quantization_config": {}}, "v": {"dtype": "float32"}})",
          Dtype::kF16) == R"({"a": 1, "text_config": {"dtype": "float16"}, "v": {"dtype": "float32"}})");
  CHECK(edited(R"({"quantization_config": {}})", Dtype::kF32) == "{\n  \"dtype\": \"float32\"\n}");
  CHECK(edited(R"({"_class_name": "X", "quantization_config": {}})", Dtype::kF32) ==
        R"({"_class_name": "X"})");
}

TEST_CASE("plain_config: modules that stay plain are named whole, or by parts of their paths") {
  const LeftAlone left(
      parse_json(R"({"modules_to_not_convert": ["lm_head", "mlp.gate"], "ignore": ["a.b.c"]})").root);
  for (const char* const name :
       {"lm_head", "model.lm_head", "model.layers.0.mlp.gate", "x.mlp.gate.y", "a.b.c"})
    CHECK_MESSAGE(left.contains(name), name);
  for (const char* const name : {"lm_heads", "mlp.gate_proj", "mlp", "b.c", ""})
    CHECK_MESSAGE(!left.contains(name), name);
  CHECK_FALSE(LeftAlone(JsonValue()).contains("lm_head"));
  CHECK_FALSE(left.contains(std::string(1'000'000, '.')));
}

}  // namespace
}  // namespace mu
