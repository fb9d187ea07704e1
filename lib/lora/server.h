// SPDX-License-Identifier: Apache-2.0
// The programs that apply adapters, and what was done to an adapter for one of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace mu {

enum class Server : std::uint8_t { kPeft, kVllm, kSglang };

std::optional<Server> parse_server(std::string_view name);
std::string_view server_name(Server server);  // "vLLM"

// Whether it applies a module that the adapter holds whole: PEFT any, vLLM the head of a classifier.
bool takes_whole(Server server, std::string_view module);

// What was done to the adapter.
struct ServedForm {
  Server server = Server::kPeft;
  std::uint64_t rank = 0;      // the largest
  std::uint64_t max_rank = 0;  // what vLLM needs as --max-lora-rank; 0 for others
  std::uint64_t zeros = 0;     // pairs of zeros that were added
  std::uint64_t scaled = 0;    // modules whose lora_B was multiplied
  std::vector<std::string> notes;
};

// What the server does not apply; the way out is to merge.
Error not_served(std::string what);

}  // namespace mu
