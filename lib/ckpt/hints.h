// SPDX-License-Identifier: Apache-2.0
// When nothing was found: what the user may have meant.
#pragma once

#include <string>

#include "ckpt/runs.h"

namespace mu {

// One clause about checkpoints in the folder, or one level below, that have another well-known name, and the
// option that selects them; empty if there are none. `recursive`: folders below were already searched.
std::string hint_at_others(const RunFolder& folder, const CheckpointNames& names, bool recursive);

}  // namespace mu
