// SPDX-License-Identifier: Apache-2.0
// adapter_config.json of an adapter in the form for a server: ranks, scales and targets of the modules that are
// written. Members that need no change stay byte for byte.
#pragma once

#include <string>
#include <vector>

#include "lora/served_pairs.h"
#include "lora/server.h"

namespace mu {

std::string served_config(Server server, const LoraConfig& config, const std::vector<ServedPair>& pairs,
                          const ServedBase& base);

}  // namespace mu
