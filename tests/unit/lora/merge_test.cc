// SPDX-License-Identifier: Apache-2.0
// Merging, by numbers made by hand; the interop suite compares with PEFT.

#include <doctest/doctest.h>

#include <cmath>

#include "lora/config.h"
#include "lora/extract.h"
#include "lora/product.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE("the product of thin factors is added, in whole blocks and the rest") {
  for (const std::size_t m : {1U, 3U, 4U, 9U}) {
    for (const std::size_t n : {1U, 5U, 256U, 300U}) {
      const std::size_t k = 3, stride = n + 2;
      std::vector<float> left(m * k), right(k * stride), values(m * n, 1.0F);
      for (std::size_t i = 0; i < left.size(); ++i) left[i] = static_cast<float>(i) - 4.0F;
      for (std::size_t i = 0; i < right.size(); ++i) right[i] = static_cast<float>(i % 7);
      add_product({left.data(), right.data(), values.data(), m, n, k, stride, 0.5F});
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          float sum = 0;
          for (std::size_t c = 0; c < k; ++c) sum += left[i * k + c] * right[c * stride + j];
          REQUIRE(values[i * n + j] == 1.0F + 0.5F * sum);
        }
      }
    }
  }
}

TEST_CASE("scales by patterns: the first key that ends the path, in the file's order") {
  const LoraConfig config = parse_lora_config(R"({"peft_type": "LORA", "r": 8, "lora_alpha": 16,
    "rank_pattern": {"layers.1.q_proj": 2, "q_proj": 4, "^never": 1}, "alpha_pattern": {"(k|v)_proj": 3, "o.proj": 9}})");
  CHECK(config.rank_of("model.layers.1.q_proj") == 2);
  CHECK(config.rank_of("model.layers.0.q_proj") == 4);
  CHECK(config.rank_of("model.layers.11.q_proj") == 4);
  CHECK(config.rank_of("model.layers.1.xq_proj") == 8);
  CHECK(config.alpha_of("m.v_proj") == 3);
  CHECK(config.alpha_of("m.o_proj") == 16);
  CHECK(config.scale_of("m.q_proj") == 4);
  LoraConfig stable = config;
  stable.use_rslora = true;
  CHECK(stable.scale_of("m.x") == doctest::Approx(16 / std::sqrt(8.0)));
}

TEST_CASE("what is not a known LoRA is refused by name") {
  for (const std::string text :
       {R"({"peft_type": "IA3"})", R"({"r": 8})", "[]", "{", R"({"peft_type": "LORA", "r": 0})",
        R"({"peft_type": "LORA", "use_qalora": true})",
        R"({"peft_type": "LORA", "loftq_config": {"bits": 4}})",
        R"({"peft_type": "LORA", "rank_pattern": {"a": "b"}})",
        R"({"peft_type": "LORA", "rank_pattern": {"a": 0}})"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_lora_config(text); }) == ErrorKind::kMalformed);
  }
  for (const std::string pattern : {"(", "((a{1,255}){1,255}){1,255}"}) {
    const LoraConfig bad =
        parse_lora_config(R"({"peft_type": "LORA", "rank_pattern": {")" + pattern + R"(": 2}})");
    CHECK(error_of([&] { (void)bad.rank_of("x"); }) == ErrorKind::kMalformed);
  }
}

TEST_CASE("a generated config names modules by their last component if that selects no other") {
  std::vector<LoraModule> modules;
  for (const char* name : {"model.0.q_proj", "model.1.q_proj", "model.0.up_proj"})
    modules.push_back({.name = name, .rank = 4});
  modules[1].rank = 2;
  const LoraConfig config =
      make_config(modules, {}, {"model.0.q_proj", "model.1.q_proj", "model.0.up_proj", "model.1.up_proj"}, 4);
  CHECK(config.target_modules == std::vector<std::string>{"model.0.up_proj", "q_proj"});
  CHECK(config.rank == 4);
  CHECK(config.rank_pattern == std::vector<std::pair<std::string, double>>{{"model.1.q_proj", 2}});
  const LoraConfig again = parse_lora_config(lora_config_text(config));
  CHECK(again.target_modules == config.target_modules);
  CHECK(again.rank_of("model.1.q_proj") == 2);
  CHECK(again.alpha == 4);
}

TEST_CASE("values of a config are replaced and added, the rest stays") {
  CHECK(with_config_values(R"({"r": 8, "x": [1,  2]})", {{"r", "2"}, {"y", "\"z\""}}) ==
        "{\n  \"y\": \"z\",\"r\": 2, \"x\": [1,  2]}");
  CHECK(with_config_values("{}", {{"y", "1"}}) == "{\n  \"y\": 1\n}");
}
