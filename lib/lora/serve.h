// SPDX-License-Identifier: Apache-2.0
// An adapter in the form in which one program applies all of it. PEFT saves adapters under the names of the model in
// memory, with the factors of all experts in one pair; servers look for published names and expert by expert, or for
// one rank and one scale, and pass over what they don't find without a word. Sources: vLLM 0.33 (vllm/lora), SGLang
// 0.5.23 (sglang/srt/lora), PEFT 0.21.2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/input.h"
#include "model/lora_adapter.h"

namespace mu {

enum class Server : std::uint8_t { kPeft, kVllm, kSglang };

std::optional<Server> parse_server(std::string_view name);
std::string_view server_name(Server server);  // "vLLM"

// What was done to the adapter.
struct ServedForm {
  Server server = Server::kPeft;
  std::uint64_t rank = 0;      // the largest
  std::uint64_t max_rank = 0;  // what vLLM needs as --max-lora-rank; 0 for others
  std::uint64_t zeros = 0;     // pairs of zeros that were added
  std::uint64_t scaled = 0;    // modules whose lora_B was multiplied
  std::vector<std::string> notes;
};

struct ServedAdapter {
  ServedForm form;
  std::vector<Tensor> tensors;  // views of the adapter's, under the names that PEFT would give them
  std::string config_text;      // adapter_config.json
};

// Plans the form for a server. `weights` are those whose tensors `content` borrows; they are read only where it must be
// known whether values are equal or zero. Throws kMalformed, with the modules named, for what the base lacks and for
// what the server does not apply.
ServedAdapter serve_adapter(Server server, const AdapterContent& content, const LoraConfig& config,
                            const Weights& weights, const Input& base);

// What the server does not apply; the way out is to merge.
Error not_served(std::string what);

}  // namespace mu
