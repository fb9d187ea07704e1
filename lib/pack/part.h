// SPDX-License-Identifier: Apache-2.0
// Parts of a pack plan, for work that outgrows a machine (os/parts.h). The unit of work is a shard. A part
// holds its shards as they will be in the output, and share.json, which records what their casts lost. The
// last run links the shards into the output and writes what no part has.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/part.h"
#include "model/fingerprint.h"
#include "os/parts.h"
#include "pack/plan.h"
#include "pack/write.h"

namespace mu {

// The fingerprint of everything that decides the bytes of the shards: their headers, the source of each
// tensor, the inputs, and `recipe`, which says what is computed from them.
std::string pack_fingerprint(const PackPlan& plan, const Input& input, KnownBy by,
                             std::string_view recipe = {});

// The plan of one part: its shards, balanced by bytes read and written. Index, configs and other files are
// left to the last run.
PackPlan plan_part(const PackPlan& plan, const Part& part, const std::string& fingerprint);

// The shards that finished parts of this plan hold. Throws kRefused for parts of other plans (see
// PartsFolder::find) and for a part whose files are not those of its plan.
FinishedShards find_finished(const PartsFolder& folder, const PackPlan& plan, bool discard_others);

// Writes the part that plan_part() planned into the folder, or reads it if it is finished already. `out` is
// the output of the last run: what that run would refuse (see write_pack) is refused now.
WriteResult write_part(const PackPlan& plan, const PartsFolder& folder, const std::string& out,
                       const Input& input, const WriteOptions& options);

}  // namespace mu
