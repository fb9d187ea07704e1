// SPDX-License-Identifier: Apache-2.0
// The config of an adapter, made from its tensors.
#pragma once

#include <string>
#include <vector>

#include "model/lora_adapter.h"

namespace mu {

// A config for an adapter whose training left none: ranks, DoRA and target modules as the tensors have them.
// `base_modules` are the paths of the modules of the base, as far as they are known: a target is named by its
// last component if all modules with that component are targets, else in full.
LoraConfig make_config(const std::vector<LoraModule>& modules, const std::vector<ReplacedTensor>& replaced,
                       const std::vector<std::string>& base_modules, double alpha);

}  // namespace mu
