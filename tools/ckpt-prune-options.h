// SPDX-License-Identifier: Apache-2.0
// What a user of ckpt-prune can say, and the policy that it means.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ckpt/plan.h"
#include "ckpt/policy.h"
#include "cli/app.h"

namespace mu {

struct PruneOptions {
  std::vector<std::string> runs, keep_steps, pins;
  std::optional<std::string> keep, keep_best, metric, keep_every, keep_within, keep_optimizer, max_total,
      min_free;
  std::optional<std::string> torn, torn_age, trash, pattern, paths, follow;
  bool lower = false, higher = false, epochs = false, recursive = false, deep = false, unresumable = false;
  bool list = false, need = false;
  CommonOptions common;

  [[nodiscard]] bool only_looks() const { return common.dry_run || list || paths.has_value(); }
};

// Throws kUsage.
PruneOptions parse_prune_options(int argc, char** argv);
// Throws kUsage for values that make no sense, and for a missing policy if one is needed; kIo for a file of pins.
Policy policy_of(const PruneOptions& options);
// The verb that --paths names. Throws kUsage.
std::optional<Verb> verb_of(const std::optional<std::string>& text);

}  // namespace mu
