// SPDX-License-Identifier: Apache-2.0
// A commit: its body as the Hub's commit endpoint takes it (NDJSON), and sending it so that it happens once
// and no more, whatever answers get lost.
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

// A body of lines: header, deletions, regular files in base64, LFS files by hash. Built in a temporary file.
// Regular files get their `oid` here, where it was not known. Throws kTemporary for a file that changed.
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
  std::string_view unchanged;  // what to say when nothing came of it: "the repository is as it was"
};

struct SentCommit {
  enum class Fate : std::uint8_t {
    kMade,
    kMoved,     // the revision moved on by somebody else's commit; nothing was made
    kTooLarge,  // the hub can't take it in one piece (413, 504), and has not; only of more than kSmallCommit
                // items
  } fate = Fate::kMade;
  CommitResult made;
};

// Sends a commit upon its parent. When the answer is lost, the revision is looked at: a new commit with our
// title and files is ours; where nothing happened it is sent again, which the parent makes harmless, as long
// as
// --max-wait allows. Throws what the hub refuses, and kTemporary when the time is used up.
SentCommit send_commit(HubApi& api, const CommitTask& task);

// True where an item is a .gitattributes that lies there with what the hub adds to it: the paths in LFS that
// no rule of it covers.
bool is_amended_there(HubApi& api, const std::string& revision, const PushItem& item);

// Names of the items that do not lie in the revision as planned, amended ones excepted.
std::vector<std::string> find_differing(HubApi& api, const std::string& revision,
                                        const std::vector<const PushItem*>& items);

}  // namespace mu
