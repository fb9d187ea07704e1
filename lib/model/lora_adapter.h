// SPDX-License-Identifier: Apache-2.0
// A saved LoRA adapter as plain data: which module of the base model gets which factors, and which tensors
// are replaced whole. Source: PEFT 0.21.2, tuners/lora/layer.py and utils/save_and_load.py.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/input.h"
#include "model/lora_config.h"

namespace mu {

// Shapes as PEFT saves them; pointers borrow from the list of tensors.
struct LoraModule {
  std::string name;                   // path in the base model: "model.layers.0.self_attn.q_proj"
  const Tensor* a = nullptr;          // [r, in]; for an embedding [r, vocabulary]
  const Tensor* b = nullptr;          // [out, r]; for an embedding [dimension, r]
  const Tensor* bias = nullptr;       // [out], with lora_bias
  const Tensor* magnitude = nullptr;  // [out], with DoRA
  bool is_embedding = false;
  bool is_target = true;   // PEFT leaves out factors of modules that the config does not name
  std::uint64_t rank = 0;  // rows of `a`
  double scale = 0;        // of the delta B A
};

// A tensor of the base model that the adapter holds whole.
struct ReplacedTensor {
  std::string name;  // "lm_head.weight"
  const Tensor* tensor;
  // Of a module of modules_to_save, which has its own weights even where the base ties them. Biases are not,
  // nor embeddings that were saved since the vocabulary was resized.
  bool is_trained = false;
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
  // The own weights of embeddings, saved beside their factors or rows; those of the base, but for a vocabulary
  // that was resized.
  std::vector<ReplacedTensor> layers;
  std::vector<ReplacedRows> rows;
};

struct Adapter : AdapterContent {
  std::string name;  // as given
  LoraConfig config;
  Weights weights;
};

struct AdapterUse {
  std::shared_ptr<const Adapter> adapter;
  double scale = 1;  // multiplies the adapter's own scale
};

// The parameter ("….experts.gate_up_proj") that factors change which are named after the module that holds it: the
// factors of the module itself belong to the last parameter that target_parameters names, and "base_layer" stands
// for the parameter before. Empty if it names none.
std::string target_parameter_of(const std::string& module, const LoraConfig& config);

// The same for factors, when the base is not at hand: a linear layer's weight is a stack only if its factors are
// larger than one rank. Empty for the factors of an ordinary layer.
std::string stack_of(const LoraModule& module, const LoraConfig& config);

// Opens a folder with adapter_config.json and adapter_model.safetensors or .bin. Throws kIo, and kMalformed,
// naming the module, for another kind of adapter, half a pair of factors, or factors that fit neither each
// other nor the config.
Adapter open_adapter(const std::string& path);

// The adapter in an input that is open: a folder, or a file with its config beside it (without one, config.rank is 0).
// Faults of its factors are for the caller to find; half a pair leaves a null. Throws kMalformed for what is not an
// adapter, and for kinds that are not supported.
Adapter read_adapter(const Input& input);

// Sorts tensors, which must have the names that PEFT saves; the result borrows them. Throws kMalformed.
AdapterContent sort_adapter(const std::vector<Tensor>& tensors, const LoraConfig& config);

}  // namespace mu
