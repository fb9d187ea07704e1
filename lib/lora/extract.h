// SPDX-License-Identifier: Apache-2.0
// Takes the adapter out of a training checkpoint or full state dict, as PeftModel.save_pretrained writes it:
// its tensors under their published names, its config copied or generated. Source: PEFT 0.21.2,
// utils/save_and_load.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lora/server.h"
#include "model/lora_adapter.h"

namespace mu {

struct ExtractOptions {
  std::string adapter;          // its name, if there are several; empty: the only one
  std::optional<double> alpha;  // used if no config says it, or says 0
  std::string base_id;          // base model for the config; empty: unchanged
  // Values are read before they are written: those of other machines are kept in memory.
  bool is_looked_at = false;
  unsigned connections = 0;  // for these (FetchOptions)
};

struct Extraction {
  Input input;              // holds only the tensors of the adapter
  LoraConfig config;        // as it will be written
  std::string config_text;  // adapter_config.json
  bool made_config = false;
  std::vector<LoraModule> modules;  // borrow from input
  std::vector<std::string> notes;
  std::optional<ServedForm> form;  // for a server
};

// Opens a checkpoint, an adapter folder (several adapters have folders NAME/ below it) or a weights file.
// Throws kMalformed if it holds no adapter, or several and none was chosen, if half a pair of factors is
// missing, if values are not finite, or if no config says alpha or it is 0.
Extraction extract_adapter(const std::string& path, const ExtractOptions& options);

// Gives the adapter the form for a server that has this base (serve.h).
void serve_extraction(Extraction& extraction, Server server, const Input& base);

}  // namespace mu
