// SPDX-License-Identifier: Apache-2.0
// A saved LoRA adapter as plain data: which module of the base model gets which factors, and which tensors
// are replaced whole. Source: PEFT 0.21.2, tuners/lora/layer.py and utils/save_and_load.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lora/config.h"
#include "model/input.h"

namespace mu {

// Shapes as PEFT saves them; pointers borrow from the list of tensors.
struct LoraModule {
  std::string name;                   // path in the base model: "model.layers.0.self_attn.q_proj"
  const Tensor* a = nullptr;          // [r, in]; for an embedding [r, vocabulary]
  const Tensor* b = nullptr;          // [out, r]; for an embedding [dimension, r]
  const Tensor* bias = nullptr;       // [out], with lora_bias
  const Tensor* magnitude = nullptr;  // [out], with DoRA
  bool is_embedding = false;
  std::uint64_t rank = 0;  // rows of `a`
  double scale = 0;        // of the delta B A
};

// A tensor of the base model that the adapter replaces whole (modules_to_save, biases).
struct ReplacedTensor {
  std::string name;  // "lm_head.weight"
  const Tensor* tensor;
};

// Trained rows of an embedding: they replace those of the base.
struct ReplacedRows {
  std::string module;  // "model.embed_tokens"
  std::vector<std::uint64_t> ids;
  const Tensor* rows;  // [ids, dimension]
};

// What an adapter's tensors make of the base model.
struct AdapterContent {
  std::vector<LoraModule> modules;  // in the order of the file
  std::vector<ReplacedTensor> replaced;
  std::vector<ReplacedRows> rows;
};

struct Adapter : AdapterContent {
  std::string name;  // as given
  LoraConfig config;
  Weights weights;
};

// Opens a folder with adapter_config.json and adapter_model.safetensors or .bin. Throws kIo, and kMalformed,
// naming the module, for another kind of adapter, half a pair of factors, or factors that fit neither each
// other nor the config.
Adapter open_adapter(const std::string& path);

// Sorts tensors, which must have the names that PEFT saves; the result borrows them. Throws kMalformed.
AdapterContent sort_adapter(const std::vector<Tensor>& tensors, const LoraConfig& config);

}  // namespace mu
