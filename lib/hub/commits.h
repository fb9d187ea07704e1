// SPDX-License-Identifier: Apache-2.0
// Makes one commit after another until a plan is in the repository, and says what was made if not all were.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/commit.h"

namespace mu {

class CommitSeries {
 public:
  // Commits onto `revision`, which is at `parent`. `unchanged` is what errors say as long as no commit was
  // made ("the repository is unchanged"). `note` is called with the progress of several commits.
  CommitSeries(HubApi& api, std::string revision, std::string parent, CommitMessage message,
               std::string_view unchanged, std::function<void(const std::string&)> note)
      : api_(api),
        revision_(std::move(revision)),
        parent_(std::move(parent)),
        message_(std::move(message)),
        unchanged_(unchanged),
        note_(std::move(note)) {}

  // Makes these commits, and marks their items as landed. Halves a commit that is too large for the hub, and
  // all after it. Returns false if someone else's commit came first: then plan again, call set_parent(), and
  // call this again. Throws as send_commit() does.
  bool send(std::vector<CommitItems> commits);

  void set_parent(std::string parent) { parent_ = std::move(parent); }
  [[nodiscard]] const std::vector<CommitResult>& made() const { return made_; }

  // The error for a failure after at least one commit: `why`, and what was committed before it. kTemporary
  // stays kTemporary, other kinds become kPartial.
  [[nodiscard]] Error partial(const Error& why) const;

 private:
  // A commit that was too large for the hub's gateway. The hub behind it may still make it, later.
  struct Late {
    std::string title;
    CommitItems items;
    CommitResult made;
  };
  bool find_late(Late& late) const;  // whether it is the newest commit now

  [[nodiscard]] CommitTask task(const CommitItems& items, std::size_t left) const;
  void land(const CommitResult& made, const CommitItems& items, std::size_t left);

  HubApi& api_;
  const std::string revision_;
  std::string parent_;
  const CommitMessage message_;
  const std::string unchanged_;
  const std::function<void(const std::string&)> note_;
  std::vector<CommitResult> made_;
  std::size_t landed_ = 0, left_ = 0;  // items
};

}  // namespace mu
