// SPDX-License-Identifier: Apache-2.0
// What the config of an adapter is for and the adapter lacks: PEFT makes new factors for it, which change nothing.
#pragma once

#include <cstddef>
#include <string>

#include "model/adapter_in_base.h"

namespace mu {

struct Untouched {
  std::size_t covered = 0,
              missing = 0;  // modules of the base that the config names, and those the adapter lacks
  std::string first;        // of these, by the adapter's names
};

// Modules are told from the names and shapes of the base. Where the config leaves them to the type of the model, or its
// patterns take too long, there are none.
Untouched find_untouched(const AdapterContent& adapter, const LoraConfig& config, const AdapterInBase& found,
                         const Input& base);

}  // namespace mu
