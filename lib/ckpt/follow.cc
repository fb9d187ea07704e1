// SPDX-License-Identifier: Apache-2.0
#include "ckpt/follow.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "ckpt/scan.h"

namespace mu {

Followed follow_run(const std::string& path, const CheckpointNames& names, unsigned threads) {
  const RunFacts run = [&] {
    try {
      return scan_run(path, names, {.threads = threads});
    } catch (Error& error) {
      if (error.hint().empty()) error.hint("nothing was changed");
      throw;
    }
  }();
  const bool has_whole =
      std::any_of(run.checkpoints.begin(), run.checkpoints.end(),
                  [](const CheckpointFacts& c) { return c.is_complete() && !c.is_rank_only; });
  if (!has_whole)
    throw Error(ErrorKind::kIo, "holds no complete checkpoint to follow")
        .in_file(escape_name(path))
        .hint("nothing was changed");
  Followed followed{path, {}, {}};
  for (const CheckpointFacts& checkpoint : run.checkpoints) {
    if (checkpoint.number)
      followed.steps.push_back(*checkpoint.number);
    else
      followed.names.push_back(checkpoint.name);
  }
  std::sort(followed.steps.begin(), followed.steps.end());
  return followed;
}

}  // namespace mu
