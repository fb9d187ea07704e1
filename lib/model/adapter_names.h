// SPDX-License-Identifier: Apache-2.0
// Names of LoRA tensors: what a training process calls them, and what PEFT saves them as. Source: PEFT 0.21.2,
// utils/save_and_load.py and tuners/tuners_utils.py (get_peft_model_state_dict).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weights/weights.h"

namespace mu {

// What a name in a state dict of a LoRA run stands for.
enum class AdapterPiece : std::uint8_t {
  kFactor,  // lora_A, lora_B, lora_embedding_*, lora_magnitude_vector and other lora_* children
  kSaved,   // a module of modules_to_save, trained whole
  kTokens,  // rows of an embedding: trainable_tokens_delta
  kBias,    // a bias of the base model, which `bias` of the config may add to the adapter
  kFrozen,  // what a module of modules_to_save was before training
  kBase,    // of the base model
};

struct AdapterName {
  AdapterPiece piece = AdapterPiece::kBase;
  std::string name;     // as PEFT saves it, with "base_model.model."
  std::string adapter;  // "default"; empty where the name carries none, as in saved adapters
  std::string
      module;        // path in the base model, "model.layers.0.self_attn.q_proj"; of kBase the tensor's name
  std::string leaf;  // below the module: "lora_A.weight", "weight", "bias"
  bool of_layer = false;  // "base_layer" stood in it: the tensor of a layer that has LoRA factors
};

// Passed over are the wrappers FSDP and torch.compile anywhere, and before "base_model.model." whatever stands
// there (DDP, Lightning, the value heads of TRL). After it nothing is cut: a module may be called "module".
AdapterName parse_adapter_name(std::string_view text);

// What keep_adapter() found in the full state dict of a LoRA run.
struct AdapterChoice {
  std::string adapter;                  // the one that is kept, "default"; empty where names carry none
  std::vector<std::string> adapters;    // all that there are, sorted
  std::uint64_t base_tensors = 0;       // of the base model, left out
  std::vector<std::string> base_names;  // their module paths, without "base_model.model."
};

// Keeps the tensors of one adapter under the names that PEFT saves, in the order they were in. `bias` is the
// config's ("none", "all", "lora_only"). Without `adapter` the only one there is. Of a module that PEFT wrote
// in several spellings, as it does after the vocabulary was resized, the trained one is kept. Throws kMalformed
// when there is none, when there are several and `adapter` is empty, or when two tensors would get one name.
AdapterChoice keep_adapter(Weights& weights, const std::string& adapter, std::string_view bias);

// Gives the tensors of a saved adapter, in which no factor carries the name of the adapter, one name each:
// drops what modules were before training, and copies of trained modules under other spellings. Files of PEFT
// have them where the vocabulary was resized.
void settle_spellings(Weights& weights);

// True when the name of any tensor is that of a factor, or of trained rows.
bool holds_factors(const std::vector<Tensor>& tensors);

// True when all names are those of an adapter.
bool holds_only_adapter(const Weights& weights);

}  // namespace mu
