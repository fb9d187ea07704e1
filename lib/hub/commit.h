// SPDX-License-Identifier: Apache-2.0
// A commit: its body as the Hub's commit endpoint takes it (NDJSON), and sending it so that it happens once
// and no more, whatever answers get lost.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hub/api.h"
#include "hub/plan.h"

namespace mu {

struct CommitMessage {
  std::string title;  // not empty
  std::string description;
};

// A body of lines: header, deletions, regular files in base64, LFS files by hash. Built in a temporary file.
// Regular files get their `oid` here, where it was not known. Throws kTemporary for a file that changed.
HttpBody commit_body(const CommitMessage& message, const std::string& parent,
                     const std::vector<PushItem*>& items);

struct CommitResult {
  std::string commit;  // 40 hex digits
  std::string url;
  std::string output;  // of the hub's hooks; usually empty
};

// Sends it upon `parent` (empty: a repository without commits). When the answer is lost, the revision is
// looked at: a new commit with our title and files is ours; where nothing happened it is sent again, which
// the parent makes harmless. Nothing: the revision moved on by somebody else's commit. Throws what the hub
// refuses.
std::optional<CommitResult> send_commit(HubApi& api, const std::string& revision, const std::string& parent,
                                        const CommitMessage& message, const std::vector<PushItem*>& items);

// Names of the items that do not lie in the revision as planned.
std::vector<std::string> find_differing(HubApi& api, const std::string& revision,
                                        const std::vector<const PushItem*>& items);

}  // namespace mu
