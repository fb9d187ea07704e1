// SPDX-License-Identifier: Apache-2.0
// A commit: its body as the Hub's commit endpoint takes it (NDJSON), and sending it so that it is made
// exactly once, whatever answers get lost.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/api.h"
#include "hub/plan.h"

namespace mu {

struct CommitMessage {
  std::string title;  // not empty
  std::string description;
};

// The body, a line each: header, deletions, regular files in base64, LFS files by hash. Built in a temporary
// file. Sets the `oid` of regular files if it was not known. Throws kTemporary for a file that changed.
HttpBody commit_body(const CommitMessage& message, const std::string& parent, const CommitItems& items);

struct CommitResult {
  std::string commit;  // 40 hex digits
  std::string url;
  std::string output;  // of the hub's hooks; usually empty
};

struct CommitTask {
  std::string revision;
  std::string parent;  // empty: a repository without commits
  CommitMessage message;
  CommitItems items;
  std::string_view unchanged;  // what errors say about the repository: "the repository is unchanged"
};

struct SentCommit {
  enum class Fate : std::uint8_t {
    kMade,
    kMoved,     // someone else's commit came first; nothing was made
    kTooLarge,  // too large for the hub (413, 504), and not made; only for more than kSmallCommit items
  } fate = Fate::kMade;
  CommitResult made;
};

// Sends a commit upon its parent. When the answer is lost, looks at the revision: a new commit with our title
// and files is ours; if there is none, the commit is sent again, which its parent makes harmless, as long as
// --max-wait allows. Throws what the hub refuses, and kTemporary when the time is used up.
SentCommit send_commit(HubApi& api, const CommitTask& task);

// Whether an item is a .gitattributes that the repository has with the lines that a hub adds: paths in LFS
// that none of its rules covers.
bool is_amended_there(HubApi& api, const std::string& revision, const PushItem& item);

// The names of items that are not in the revision as planned. An amended .gitattributes is as planned.
std::vector<std::string> find_differing(HubApi& api, const std::string& revision,
                                        const std::vector<const PushItem*>& items);

}  // namespace mu
