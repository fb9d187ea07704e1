// SPDX-License-Identifier: Apache-2.0
// Parts of a pack plan, for work that outgrows a machine (os/parts.h): the unit is a shard. A part holds
// its shards as they will lie in the output, and share.json with what their casts lost. The run that finishes
// links the shards into the output and writes what no part has.
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

// Of all that decides the bytes of the shards: their headers, which tensor comes from where, the inputs, and
// `recipe`, which says what is made of them.
std::string pack_fingerprint(const PackPlan& plan, const Input& input, KnownBy by,
                             std::string_view recipe = {});

// The part of a plan that one part does: its shards, balanced by bytes read and written. Index, configs and
// other files are left to the run that finishes.
PackPlan plan_part(const PackPlan& plan, const Part& part, const std::string& fingerprint);

// What lies finished in the parts of this plan. Throws kRefused for parts of other plans (see
// PartsFolder::find) and for one whose files are not those of its plan.
FinishedShards find_finished(const PartsFolder& folder, const PackPlan& plan, bool discard_others);

// Writes the part that plan_part planned into the folder; one that is finished already is read instead.
// `out` is the output to be: what would be refused at the end (see write_pack) is refused now.
WriteResult write_part(const PackPlan& plan, const PartsFolder& folder, const std::string& out,
                       const Input& input, const WriteOptions& options);

}  // namespace mu
