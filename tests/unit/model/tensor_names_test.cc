// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_names.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;

namespace {

std::shared_ptr<const TensorNames> names_of(std::string_view architecture) {
  return TensorNames::of(parse_model_config("{\"architectures\": [\"" + std::string(architecture) + "\"]}"));
}

std::vector<Tensor> tensors(const std::vector<std::string>& names) {
  std::vector<Tensor> list(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) list[i].name = names[i];
  return list;
}

}  // namespace

TEST_CASE("tensor names: memory's names and published ones") {
  struct Row {
    std::string_view architecture, memory, published;
  };
  for (const Row& row : {
           Row{"MixtralForCausalLM", "model.layers.0.mlp.gate.weight",
               "model.layers.0.block_sparse_moe.gate.weight"},
           {"MixtralForCausalLM", "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.weight"},
           {"PhimoeForCausalLM", "model.layers.3.mlp.router.weight",
            "model.layers.3.block_sparse_moe.gate.weight"},
           {"GraniteMoeForCausalLM", "model.layers.0.block_sparse_moe.experts.down_proj",
            "model.layers.0.block_sparse_moe.output_linear.weight"},
           {"Qwen2_5_VLForConditionalGeneration", "model.language_model.layers.0.x", "model.layers.0.x"},
           {"Qwen2_5_VLForConditionalGeneration", "model.visual.blocks.0.x", "visual.blocks.0.x"},
           {"Qwen2_5_VLForConditionalGeneration", "lm_head.weight", "lm_head.weight"},
           {"LlavaForConditionalGeneration", "lm_head.weight", "language_model.lm_head.weight"},
           {"LlavaForConditionalGeneration", "model.vision_tower.x", "vision_tower.x"},
           {"LlavaForConditionalGeneration", "model.language_model.layers.0.q",
            "language_model.model.layers.0.q"},
           {"GPTNeoXForCausalLM", "lm_head.weight", "embed_out.weight"},
       }) {
    CAPTURE(row.memory);
    const std::shared_ptr<const TensorNames> names = names_of(row.architecture);
    REQUIRE(names != nullptr);
    CHECK(names->published(row.memory) == row.published);
    CHECK(names->memory(row.published) == row.memory);
  }
}

TEST_CASE("tensor names: the experts of a layer are one tensor in memory") {
  const std::shared_ptr<const TensorNames> names = names_of("MixtralForCausalLM");
  CHECK(names->published("model.layers.0.mlp.experts.gate_up_proj") ==
        "model.layers.0.block_sparse_moe.experts.*.w1.weight");
  const RenamedTensor up = names->load("model.layers.0.block_sparse_moe.experts.12.w3.weight");
  CHECK(up.name == "model.layers.0.mlp.experts.gate_up_proj");
  REQUIRE(up.conversion != nullptr);
  CHECK(up.pattern == 1);
  REQUIRE(up.conversion->operations.size() == 2);
  CHECK(up.conversion->operations[0].name == "MergeModulelist");
  CHECK(up.conversion->operations[1].name == "Concatenate");
  // A pattern that ends in a letter ends there.
  CHECK(names->load("model.layers.0.block_sparse_moe.experts.0.w1.weight_scale").conversion == nullptr);
}

TEST_CASE("tensor names: which side a name and a file are on") {
  const std::shared_ptr<const TensorNames> llava = names_of("LlavaForConditionalGeneration");
  CHECK(llava->side_of("model.language_model.layers.0.self_attn.q_proj.weight") == NameSide::kMemory);
  CHECK(llava->side_of("lm_head.weight") == NameSide::kMemory);
  CHECK(llava->side_of("language_model.model.norm.weight") == NameSide::kPublished);
  CHECK(llava->side_of("score.weight") == NameSide::kNeutral);
  const std::shared_ptr<const TensorNames> qwen = names_of("Qwen3MoeForCausalLM");
  CHECK(qwen->side_of("model.layers.0.mlp.experts.0.up_proj.weight") == NameSide::kPublished);
  CHECK(qwen->side_of("model.layers.0.mlp.experts.gate_up_proj") == NameSide::kMemory);
  CHECK(qwen->side_of("model.layers.0.mlp.gate.weight") == NameSide::kNeutral);

  const std::shared_ptr<const TensorNames> mixtral = names_of("MixtralForCausalLM");
  CHECK(mixtral->side_of(tensors({"model.layers.0.mlp.gate.weight", "score.weight"})).is_memory());
  CHECK(mixtral->side_of(tensors({"model.layers.0.block_sparse_moe.gate.weight", "score.weight"}))
            .is_published());
  const TensorNames::Counts mixed =
      llava->side_of(tensors({"language_model.model.norm.weight", "lm_head.weight"}));
  CHECK_FALSE(mixed.is_memory());
  CHECK_FALSE(mixed.is_published());
  CHECK(mixed.a_memory == "lm_head.weight");
  CHECK(mixed.a_published == "language_model.model.norm.weight");
  CHECK(mixed.a_foreign.empty());
}

TEST_CASE("tensor names: classes that rename nothing, and those that nobody knows") {
  CHECK(names_of("LlamaForCausalLM") == nullptr);
  CHECK(names_of("NoSuchModel") == nullptr);
  CHECK(names_of("LlamaForCausalLM LlamaModel") == nullptr);
  CHECK(names_of("") == nullptr);
  CHECK(names_of("class\\tMixtralForCausalLM") == nullptr);
  // Code of its own decides itself.
  CHECK(TensorNames::of(parse_model_config(
            R"({"architectures": ["MixtralForCausalLM"], "auto_map": {"AutoModel": "m.M"}})")) == nullptr);
  // Without a class, the model type tells where all its classes rename alike.
  CHECK(TensorNames::of(parse_model_config(R"({"model_type": "dinov3_vit"})")) != nullptr);
  CHECK(TensorNames::of(parse_model_config(R"({"model_type": "llava"})")) == nullptr);
}

TEST_CASE("tensor names: embeddings, and layers that PEFT takes for experts") {
  CHECK(is_embedding_layer("embed_tokens"));
  CHECK(is_embedding_layer("relative_attention_bias"));
  CHECK_FALSE(is_embedding_layer("q_proj"));
  CHECK_FALSE(is_embedding_layer(""));
  CHECK(becomes_expert_parameter("qwen3_moe", "up_proj"));
  CHECK_FALSE(becomes_expert_parameter("qwen3_moe", "q_proj"));
  CHECK_FALSE(becomes_expert_parameter("llama", "up_proj"));
}
