// SPDX-License-Identifier: Apache-2.0
#include "lora/server.h"

#include "model/module_path.h"

namespace mu {

std::optional<Server> parse_server(std::string_view name) {
  if (name == "peft") return Server::kPeft;
  if (name == "vllm") return Server::kVllm;
  if (name == "sglang") return Server::kSglang;
  return std::nullopt;
}

bool takes_whole(Server server, std::string_view module) {
  const std::string_view last = last_component(module);
  return server == Server::kPeft || (server == Server::kVllm && (last == "score" || last == "classifier"));
}

Error not_served(std::string what) {
  return malformed(std::move(what)).hint("st-pack BASE --adapter ADAPTER merges it into the base");
}

std::string_view server_name(Server server) {
  return server == Server::kPeft ? "PEFT" : server == Server::kVllm ? "vLLM" : "SGLang";
}

}  // namespace mu
