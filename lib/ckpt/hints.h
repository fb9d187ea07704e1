// SPDX-License-Identifier: Apache-2.0
// Where nothing was found: what the user may have meant.
#pragma once

#include <string>

#include "ckpt/runs.h"

namespace mu {

// One clause on checkpoints that lie in the folder under another well-known name, or one level below it, and
// on the option that takes them; empty where there are none. `recursive`: what lies below was looked for.
std::string hint_at_others(const RunFolder& folder, const CheckpointNames& names, bool recursive);

}  // namespace mu
