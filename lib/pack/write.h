// SPDX-License-Identifier: Apache-2.0
// Carries out a plan; decides nothing. Unchanged bytes are shared or copied inside the kernel, casts stream
// through fixed buffers on all threads, and the output appears whole or not at all.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pack/plan.h"
#include "tensor/cast.h"

namespace mu {

struct WriteOptions {
  bool force = false;
  bool verify = false;  // reread what was written and compare it with what should have been
  unsigned threads = 1;
  bool progress = false;
};

struct WriteResult {
  // Tensors whose values a cast changed beyond rounding, in the order of the output.
  std::vector<std::pair<std::string, CastReport>> losses;
  std::optional<std::string> digest;  // the content digest of the output, when it was verified
};

// Writes to the folder or file `out`, or to standard output for kStream. Throws kRefused when `out` is part
// of the input or exists without `force`, kIo when it can't be written, kIo when --verify finds other bytes
// on the disk.
WriteResult write_pack(const PackPlan& plan, const Input& input, const std::string& out,
                       const WriteOptions& options);

}  // namespace mu
