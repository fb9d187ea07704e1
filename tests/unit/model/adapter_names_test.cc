// SPDX-License-Identifier: Apache-2.0
#include "model/adapter_names.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE("names of a training process become those that PEFT saves") {
  struct Row {
    std::string_view text;
    AdapterPiece piece;
    std::string_view name, adapter, module;
  };
  const std::string q = "model.layers.0.self_attn.q_proj";
  for (const Row& row : {
           Row{"base_model.model.m.q.lora_A.default.weight", AdapterPiece::kFactor,
               "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           {"base_model.model.m.q.lora_A.weight", AdapterPiece::kFactor, "base_model.model.m.q.lora_A.weight",
            "", "m.q"},
           {"base_model.model.m.q.lora_B.default.bias", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_B.bias", "default", "m.q"},
           {"base_model.model.m.e.lora_embedding_A.default", AdapterPiece::kFactor,
            "base_model.model.m.e.lora_embedding_A", "default", "m.e"},
           {"base_model.model.m.e.lora_embedding_B", AdapterPiece::kFactor,
            "base_model.model.m.e.lora_embedding_B", "", "m.e"},
           {"m.q.lora_magnitude_vector.default.weight", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_magnitude_vector", "default", "m.q"},
           {"m.q.lora_magnitude_vector.other", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_magnitude_vector", "other", "m.q"},
           {"m.q.lora_magnitude_vector", AdapterPiece::kFactor, "base_model.model.m.q.lora_magnitude_vector",
            "", "m.q"},
           {"base_model.model.h.modules_to_save.default.weight", AdapterPiece::kSaved,
            "base_model.model.h.weight", "default", "h"},
           {"base_model.model.h.modules_to_save.x.dense.bias", AdapterPiece::kSaved,
            "base_model.model.h.dense.bias", "x", "h"},
           {"base_model.model.e.token_adapter.trainable_tokens_delta.default", AdapterPiece::kTokens,
            "base_model.model.e.token_adapter.trainable_tokens_delta", "default", "e"},
           {"base_model.model.m.q.base_layer.weight", AdapterPiece::kBase,
            "base_model.model.m.q.base_layer.weight", "", "m.q"},
           {"base_model.model.m.q.base_layer.bias", AdapterPiece::kBias,
            "base_model.model.m.q.base_layer.bias", "", "m.q"},
           {"base_model.model.h.original_module.weight", AdapterPiece::kFrozen,
            "base_model.model.h.original_module.weight", "", "h"},
           {"base_model.model.h.original_module.bias", AdapterPiece::kFrozen,
            "base_model.model.h.original_module.bias", "", "h"},
           // As PEFT saves it after the vocabulary was resized.
           {"base_model.model.lm_head.modules_to_save.weight", AdapterPiece::kSaved,
            "base_model.model.lm_head.weight", "", "lm_head"},
           {"base_model.model.e.token_adapter.base_layer.weight", AdapterPiece::kBase,
            "base_model.model.e.token_adapter.base_layer.weight", "", "e"},
           {"base_model.model.e.token_adapter.trainable_tokens_delta", AdapterPiece::kTokens,
            "base_model.model.e.token_adapter.trainable_tokens_delta", "", "e"},
           {"module._orig_mod.base_model.model.m._fsdp_wrapped_module.q.lora_A.default.weight",
            AdapterPiece::kFactor, "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           {"model.base_model.model.m.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           {"0.auto_model.m.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           // A module may have the name of an adapter.
           {"base_model.model.default.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.default.q.lora_A.weight", "default", "default.q"},
           // Or one that begins like a factor, or of a wrapper.
           {"base_model.model.lora_block.lora_A.weight", AdapterPiece::kFactor,
            "base_model.model.lora_block.lora_A.weight", "", "lora_block"},
           {"base_model.model.lora_A.lora_B.default.weight", AdapterPiece::kFactor,
            "base_model.model.lora_A.lora_B.weight", "default", "lora_A"},
           {"base_model.model.x.lora_block.weight", AdapterPiece::kBase,
            "base_model.model.x.lora_block.weight", "", "x.lora_block"},
           {"base_model.model.module.q.lora_A.weight", AdapterPiece::kFactor,
            "base_model.model.module.q.lora_A.weight", "", "module.q"},
           {"base_model.model.state_dict.0.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.state_dict.0.q.lora_A.weight", "default", "state_dict.0.q"},
           {"base_model.model.base_model.model.q.lora_A.weight", AdapterPiece::kFactor,
            "base_model.model.base_model.model.q.lora_A.weight", "", "base_model.model.q"},
           {"base_model.model.token_adapter.weight", AdapterPiece::kBase,
            "base_model.model.token_adapter.weight", "", "token_adapter"},
           // Models that hold a PeftModel.
           {"pretrained_model.base_model.model.m.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           {"module.policy.base_model.model.m.q.base_layer.weight", AdapterPiece::kBase,
            "base_model.model.m.q.base_layer.weight", "", "m.q"},
       }) {
    CAPTURE(row.text);
    const AdapterName name = parse_adapter_name(row.text);
    CHECK(name.piece == row.piece);
    CHECK(name.name == row.name);
    CHECK(name.adapter == row.adapter);
    CHECK(name.module == row.module);
  }
}

TEST_CASE("odd names become nothing worse than a base tensor") {
  for (const std::string_view text :
       {"", ".", "lora_A", "lora_.weight", "a.lora_A.b.c.d.weight", "modules_to_save", "modules_to_save.x",
        "trainable_tokens_delta", "base_model.model.", "0.0.0"})
    CHECK(parse_adapter_name(text).name.size() < 100);
}

namespace {

Weights weights_named(const std::vector<std::string>& names) {
  Weights weights;
  weights.files.emplace_back();
  // The offset tells which one it was.
  for (const std::string& name : names)
    weights.tensors.push_back({name, Dtype::kF32, {}, 0, weights.tensors.size(), 0});
  return weights;
}

std::vector<std::uint64_t> places(const Weights& weights) {
  std::vector<std::uint64_t> list;
  for (const Tensor& tensor : weights.tensors) list.push_back(tensor.offset);
  return list;
}

}  // namespace

TEST_CASE("of several spellings of a module the trained one is kept") {
  const std::string head = "base_model.model.lm_head.", q = "base_model.model.q.lora_";
  for (const bool reversed : {false, true}) {
    std::vector<std::string> names = {head + "weight", head + "modules_to_save.weight",
                                      head + "original_module.weight", q + "A.weight", q + "B.weight"};
    if (reversed) std::swap(names[0], names[1]);
    const std::uint64_t trained = reversed ? 0 : 1;
    Weights weights = weights_named(names);
    settle_spellings(weights);
    std::vector<std::uint64_t> found = places(weights);
    CHECK(std::count(found.begin(), found.end(), trained) == 1);
    CHECK(found.size() == 3);
    weights = weights_named(names);
    keep_adapter(weights, "", "none");
    found = places(weights);
    CHECK(std::count(found.begin(), found.end(), trained) == 1);
    CHECK(found.size() == 3);
  }
  Weights weights = weights_named(
      {q + "A.weight", q + "B.weight", head + "modules_to_save.default.weight", head + "weight"});
  settle_spellings(weights);
  CHECK(places(weights) == std::vector<std::uint64_t>{0, 1, 2});
  CHECK(weights.tensors[2].name == head + "weight");
}

TEST_CASE("an adapter of embeddings, saved with their own weights, keeps its whole modules") {
  const std::string m = "base_model.model.";
  Weights weights =
      weights_named({m + "e.base_layer.weight", m + "e.lora_embedding_A", m + "e.lora_embedding_B",
                     m + "q.lora_A.weight", m + "q.lora_B.weight", m + "score.weight"});
  keep_adapter(weights, "", "none");
  CHECK(weights.tensors.size() == 6);
}
