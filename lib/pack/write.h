// SPDX-License-Identifier: Apache-2.0
// Carries out a plan and decides nothing. Unchanged bytes are shared or copied inside the kernel, casts
// stream through fixed buffers on all threads, and the output appears complete or not at all.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "pack/plan.h"
#include "pack/write_options.h"
#include "pack/write_result.h"

namespace mu {

// A file of weights that a part of the work has already written. The key of FinishedShards is its name in the
// output.
struct FinishedShard {
  std::string path;
  std::vector<CastLoss> losses;
};
using FinishedShards = std::map<std::string, FinishedShard>;

// Writes to the folder or file `out`, or to standard output for kStream. Files in `finished` are linked into
// the folder instead of being written. Throws kRefused if `out` is part of the input or exists without
// `force`; kIo if it can't be written, or if `verify` finds other bytes on the disk.
WriteResult write_pack(const PackPlan& plan, const Input& input, const std::string& out,
                       const WriteOptions& options, const FinishedShards& finished = {});

// Throws kRefused if writing to `out` would replace one of these folders and files that are read, or the
// target of a link in them: it would be lost.
void require_apart(const std::string& out, const std::vector<std::string>& sources);

// Throws kRefused in the cases in which write_pack() would refuse before it writes.
void require_writable(const PackPlan& plan, const Input& input, const std::string& out, bool force);

// Writes only the planned files of weights to a folder, and one more file whose text is made from the result.
// If the folder exists by then, discards what was written: somebody else has done the same work.
WriteResult write_shards(const PackPlan& plan, const std::string& out, const std::string& name,
                         const std::function<std::string(const WriteResult&)>& text,
                         const WriteOptions& options);

}  // namespace mu
