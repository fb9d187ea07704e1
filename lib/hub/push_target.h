// SPDX-License-Identifier: Apache-2.0
// The repository and branch that a push goes to: found, or made.
#pragma once

#include <functional>
#include <string>

#include "hub/api.h"
#include "hub/listener.h"
#include "hub/push_options.h"

namespace mu {

struct PushTarget {
  std::string parent;          // the commit that the push builds upon; empty: there is none yet
  std::string known_revision;  // the revision to ask the hub about: main while the branch does not exist yet
  bool missing_repo = false;   // a dry run doesn't make it
  bool created_repo = false, created_branch = false;
};

// Looks the repository and the branch up, and makes what is missing unless it is a dry run. `before_create`
// may throw to keep a repository from being made. Throws kRefused where --private would not hold, kRemote for
// what is missing and may not be made, and for a branch that is not at the expected commit.
PushTarget prepare_target(HubApi& api, const PushOptions& options, const PushListener& listener,
                          const std::function<void()>& before_create);

// For a dry run without a token: throws kRefused where everybody can see that --private would not hold.
void check_public_visibility(HubApi& api, const PushOptions& options, const PushListener& listener);

}  // namespace mu
