// SPDX-License-Identifier: Apache-2.0
// Carries out a plan; decides nothing. Unchanged bytes are shared or copied inside the kernel, casts stream
// through fixed buffers on all threads, and the output appears whole or not at all.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "pack/plan.h"
#include "pack/write_result.h"

namespace mu {

struct WriteOptions {
  bool force = false;
  bool verify = false;  // reread what was written and compare it with what should have been
  unsigned threads = 1;
  bool progress = false;
};

// A file of weights that a part of the work has written already, by its name in the output.
struct FinishedShard {
  std::string path;
  std::vector<CastLoss> losses;
};
using FinishedShards = std::map<std::string, FinishedShard>;

// Writes to the folder or file `out`, or to standard output for kStream. Throws kRefused when `out` is part
// of the input or exists without `force`, kIo when it can't be written, kIo when --verify finds other bytes
// on the disk.
// `finished` files of a folder are linked into it, not written.
WriteResult write_pack(const PackPlan& plan, const Input& input, const std::string& out,
                       const WriteOptions& options, const FinishedShards& finished = {});

// Throws kRefused where writing to `out` would replace one of these folders and files that are read, or what
// their links lead to: it would be lost.
void require_apart(const std::string& out, const std::vector<std::string>& sources);

// Throws kRefused where write_pack would before it writes.
void require_writable(const PackPlan& plan, const Input& input, const std::string& out, bool force);

// Writes the planned files of weights alone to a folder, with one more file whose text is made of the result.
// Where the folder is there by now, what was written is given up: somebody else has done the same.
WriteResult write_shards(const PackPlan& plan, const Input& input, const std::string& out,
                         const std::string& name, const std::function<std::string(const WriteResult&)>& text,
                         const WriteOptions& options);

}  // namespace mu
