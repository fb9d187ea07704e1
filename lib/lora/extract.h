// SPDX-License-Identifier: Apache-2.0
// The adapter out of a training checkpoint or full state dict, as PeftModel.save_pretrained writes it: its
// tensors under their published names, its config carried or made. Source: PEFT 0.21, utils/save_and_load.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lora/adapter.h"

namespace mu {

struct ExtractOptions {
  std::string adapter;          // which of several; empty: the only one
  std::optional<double> alpha;  // where no config tells it
  std::string base_id;          // what the config names as base model; empty: as it was
};

struct Extraction {
  Input input;              // its tensors are those of the adapter
  LoraConfig config;        // as it will be written
  std::string config_text;  // adapter_config.json
  bool made_config = false;
  std::vector<LoraModule> modules;  // borrow from input
  std::vector<std::string> notes;
};

// Opens a checkpoint, an adapter folder (of several, NAME/ below it) or a weights file. Throws kMalformed
// where no adapter is in it, several leave it open, half a pair is missing, values are not finite, or no
// config tells alpha.
Extraction extract_adapter(const std::string& path, const ExtractOptions& options);

// A config for an adapter whose training left none: ranks, DoRA and target modules as the tensors have them.
// `base_modules` are paths of the base's modules, as far as they are known: a target is named by its last
// part where all modules that end so are targets, else in full.
LoraConfig make_config(const std::vector<LoraModule>& modules, const std::vector<ReplacedTensor>& replaced,
                       const std::vector<std::string>& base_modules, double alpha);

}  // namespace mu
