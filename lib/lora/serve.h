// SPDX-License-Identifier: Apache-2.0
// An adapter in the form in which one program applies all of it. PEFT saves adapters under the names of the model in
// memory, with the factors of all experts in one pair; servers look for published names and expert by expert, or for
// one rank and one scale, and pass over what they don't find without a word. Sources: vLLM 0.33 (vllm/lora), SGLang
// 0.5.23 (sglang/srt/lora), PEFT 0.21.2.
#pragma once

#include <string>
#include <vector>

#include "lora/server.h"
#include "model/input.h"
#include "model/lora_adapter.h"

namespace mu {

struct ServedAdapter {
  ServedForm form;
  std::vector<Tensor> tensors;  // views of the adapter's, under the names that PEFT would give them
  std::string config_text;      // adapter_config.json
  // Of each pair of factors, in the order of their tensors; of experts, that of one.
  std::vector<std::uint64_t> ranks;
};

// Plans the form for a server. `weights` are those whose tensors `content` borrows; they are read only where it must be
// known whether values are equal or zero. Throws kMalformed, with the modules named, for what the base lacks and for
// what the server does not apply.
ServedAdapter serve_adapter(Server server, const AdapterContent& content, const LoraConfig& config,
                            const Weights& weights, const Input& base);

}  // namespace mu
