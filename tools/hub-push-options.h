// SPDX-License-Identifier: Apache-2.0
// What a user of hub-push can say, and what it means for a push and for the way to a hub.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/part.h"
#include "hub/cache_push.h"
#include "hub/connection.h"
#include "hub/push_options.h"

namespace mu {

struct HubPushOptions {
  std::vector<std::string> operands;
  std::vector<std::string> include, exclude, deletions, allow;
  std::optional<std::string> revision, type, expect_parent, tag, message, description;
  std::string endpoint;  // in force: --endpoint, HF_ENDPOINT or the public Hub
  std::optional<std::string> limit_rate, max_wait, timeout, max_commit_files, every;
  bool make_private = false, make_public = false, create_pr = false, no_create = false;
  bool link = false, prune = false;
  bool all = false, follow_symlinks = false, verify = false, insecure_http = false;
  std::optional<Part> part;
  CommonOptions common;
};

// Throws kUsage for options that make no sense together or exclude one another.
HubPushOptions parse_hub_push_options(int argc, char** argv);

// Throw kUsage for values that make no sense.
PushOptions push_options(const HubPushOptions& o);
ConnectionOptions connection_options(const HubPushOptions& o);
// The cache folder of a file:// endpoint; nullopt for a hub.
std::optional<CacheTarget> cache_target(const HubPushOptions& o);

}  // namespace mu
