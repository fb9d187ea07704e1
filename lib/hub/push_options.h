// SPDX-License-Identifier: Apache-2.0
// What a push is to do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/part.h"
#include "hub/commit.h"
#include "hub/plan.h"
#include "hub/repo.h"

namespace mu {

struct PushOptions {
  Repo repo;
  std::string revision = "main";
  std::string prefix;  // path in the repository; empty: its root
  CommitMessage message;
  std::vector<std::string> deletions;  // globs
  std::vector<std::string> allowed;    // rules of the guard that don't stop this push
  std::optional<bool> make_private;
  bool create = true;  // a repository that is missing
  bool create_pr = false;
  std::string expected_parent;  // refuse to push upon any other commit; empty: push upon any
  std::string tag;
  bool dry_run = false, verify = false;
  std::size_t max_commit_files = kMaxCommitFiles;
  unsigned jobs = 8;
  std::string state;         // folder of the journals; empty: none are kept
  std::optional<Part> part;  // store the bytes of one part and commit nothing
};

}  // namespace mu
