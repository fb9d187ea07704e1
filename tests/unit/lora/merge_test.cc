// SPDX-License-Identifier: Apache-2.0
// Merging, by numbers made by hand; the interop suite compares with PEFT.

#include <doctest/doctest.h>

#include <cmath>

#include "lora/classifier.h"
#include "lora/made_config.h"
#include "lora/product.h"
#include "model/lora_config.h"
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
  CHECK(config.alpha_of("m.o_proj") == 9);  // the dot stands for any character
  CHECK(config.alpha_of("m.up_proj") == 16);
  CHECK(config.scale_of("m.q_proj") == 4);
  LoraConfig stable = config;
  stable.use_rslora = true;
  CHECK(stable.scale_of("m.x") == doctest::Approx(16 / std::sqrt(8.0)));
}

TEST_CASE("what is not a known LoRA is refused by name") {
  for (const std::string text :
       {R"({"peft_type": "IA3"})", R"({"r": 8})", "[]", "{", R"({"peft_type": "LORA", "r": 0})",
        R"({"peft_type": "LORA", "use_qalora": true})",
        R"({"peft_type": "LORA", "rank_pattern": {"a": "b"}})",
        R"({"peft_type": "LORA", "rank_pattern": {"a": 0}})"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_lora_config(text); }) == ErrorKind::kMalformed);
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
  CHECK(config.rank_pattern.entries() == std::vector<std::pair<std::string, double>>{{"model.1.q_proj", 2}});
  const LoraConfig again = parse_lora_config(lora_config_text(config));
  CHECK(again.target_modules == config.target_modules);
  CHECK(again.rank_of("model.1.q_proj") == 2);
  CHECK(again.alpha == 4);
}

TEST_CASE("rows of an embedding are trained by ids of a module, or of the input embedding") {
  const LoraConfig list = parse_lora_config(R"({"peft_type": "LORA", "trainable_token_indices": [3, 5]})");
  CHECK(*list.tokens_of("transformer.wte") == std::vector<std::uint64_t>{3, 5});
  const LoraConfig named =
      parse_lora_config(R"({"peft_type": "LORA", "trainable_token_indices": {"wte": [1], "lm_head": [2]}})");
  CHECK(*named.tokens_of("transformer.wte") == std::vector<std::uint64_t>{1});
  CHECK(*named.tokens_of("lm_head") == std::vector<std::uint64_t>{2});
  CHECK(named.tokens_of("model.embed_tokens") == nullptr);
}

TEST_CASE("LoftQ's factors are merged like others, with a note on the base") {
  const LoraConfig config = parse_lora_config(
      R"({"peft_type": "LORA", "init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}})");
  CHECK(config.initialisation == "loftq");
}

TEST_CASE("classes of classifiers by the type of model and the task of the adapter") {
  const HeadClasses llama = head_classes_of("llama", "SEQ_CLS");
  CHECK(llama.of_task.name == "LlamaForSequenceClassification");
  CHECK(llama.of_task.heads == std::vector<std::string>{"score"});
  CHECK(llama.of_task.labels == "score.weight");
  CHECK(llama.language == std::vector<std::string>{"lm_head"});
  CHECK(head_classes_of("roberta", "SEQ_CLS").of_task.labels == "classifier.out_proj.weight");
  CHECK(head_classes_of("bert", "TOKEN_CLS").of_task.name == "BertForTokenClassification");
  CHECK(head_classes_of("llama", "CAUSAL_LM").of_task.name.empty());
  CHECK(head_classes_of("x", "SEQ_CLS").of_task.name.empty());
  CHECK(is_label_head("llama", "SEQ_CLS", "score.weight"));
  CHECK(!is_label_head("llama", "SEQ_CLS", "lm_head.weight"));
  CHECK(!is_label_head("llama", "CAUSAL_LM", "score.weight"));
}
