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
           {"base_model.model.h.original_module.weight", AdapterPiece::kBase,
            "base_model.model.h.original_module.weight", "", "h"},
           {"base_model.model.h.original_module.bias", AdapterPiece::kBase,
            "base_model.model.h.original_module.bias", "", "h"},
           {"module._orig_mod.base_model.model.m._fsdp_wrapped_module.q.lora_A.default.weight",
            AdapterPiece::kFactor, "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           {"model.base_model.model.m.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           {"0.auto_model.m.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.m.q.lora_A.weight", "default", "m.q"},
           // A module may have the name of an adapter.
           {"base_model.model.default.q.lora_A.default.weight", AdapterPiece::kFactor,
            "base_model.model.default.q.lora_A.weight", "default", "default.q"},
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
