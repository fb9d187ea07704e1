// SPDX-License-Identifier: Apache-2.0
// st-pack --adapter: merging LoRA adapters into what is packed.
#pragma once

#include <string>
#include <vector>

#include "lora/merge.h"
#include "model/fingerprint.h"

namespace mu {

// Opens "DIR" or "DIR:SCALE" of each option. Throws kUsage for a scale that is no number, and as
// open_adapter does.
std::vector<AdapterUse> open_adapters(const std::vector<std::string>& options);

// Merges them and returns what to tell about it, one line each.
std::vector<std::string> merge_into(Input& base, const std::vector<AdapterUse>& uses,
                                    std::vector<TiedName>& tied, bool& unties);

// What of the adapters decides the bytes that are written, for the fingerprint of a plan.
std::string adapter_recipe(const std::vector<AdapterUse>& uses, KnownBy by);

}  // namespace mu
