// SPDX-License-Identifier: Apache-2.0
// A push from beginning to end: look, plan, store every byte, then one commit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "hub/files.h"
#include "hub/hashes.h"
#include "hub/lfs.h"
#include "hub/listener.h"
#include "hub/plan.h"
#include "hub/push_options.h"
#include "hub/repo.h"
#include "hub/session.h"

namespace mu {

struct PushResult {
  Repo repo;  // with its owner, where that is known
  PushPlan plan;
  std::uint64_t bytes_to_send = 0;  // of a dry run: what the storage lacks, and regular files
  bool asked = true;  // false: the hub was not asked, so what is there and what to send is not known
  UploadCounts counts;
  bool created_repo = false;
  std::vector<std::string> commits;  // 40 hex digits each; empty where there was nothing to do
  std::string url;                   // of the commit, pull request or present state
  std::uint64_t pull_request = 0;    // its number; 0: none
  std::vector<PushItem> verified;    // with --verify: every file, both hashes compared
  std::optional<Error> failure;      // what came after a commit; the rest says what was done before it
};

// Pushes `choice`; in a dry run finds out what that would do. A repository without owner is the account's
// own. Throws kRefused for what the guard stops, kRemote for what the hub refuses, kTemporary when it may go
// better later; then nothing was committed. What fails after a commit is in the result.
PushResult push_to_hub(HubSession& session, const FileChoice& choice, HashCache& cache,
                       const PushOptions& given, const PushListener& listener);

}  // namespace mu
