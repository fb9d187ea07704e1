// SPDX-License-Identifier: Apache-2.0
// st-pack --adapter: merging LoRA adapters into what is packed.
#pragma once

#include <string>
#include <vector>

#include "lora/merge.h"
#include "model/fingerprint.h"
#include "model/prepare.h"

namespace mu {

// Opens "DIR" or "DIR:SCALE" of each option. Throws kUsage for a scale that is not a number, and as
// open_adapter does.
std::vector<AdapterUse> open_adapters(const std::vector<std::string>& options);

// Merges them: the change that prepare_model makes last. `cast`: all tensors are cast afterwards.
ModelChange merge_into(Input& base, const std::vector<AdapterUse>& uses, const std::vector<TiedName>& tied,
                       bool cast);

// Says of a base that was made plain for them that it was, and how to name another one instead.
void describe_plain_base(PlainChange& change, const std::vector<AdapterUse>& uses, const std::string& base);

// What to do with a base that can't be made plain.
std::string advice_on_base(const std::vector<AdapterUse>& uses);

// What in the adapters decides the bytes that are written, for the fingerprint of a plan.
std::string adapter_recipe(const std::vector<AdapterUse>& uses, KnownBy by);

}  // namespace mu
