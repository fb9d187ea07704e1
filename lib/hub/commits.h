// SPDX-License-Identifier: Apache-2.0
// One commit after another until a plan is in the repository, and what to say when not all of them were made.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/commit.h"

namespace mu {

class CommitSeries {
 public:
  // Onto `revision`, which is at `parent`. `unchanged`: what is true as long as no commit was made ("the
  // repository is as it was"). `note` is told what happens when there are several.
  CommitSeries(HubApi& api, std::string revision, std::string parent, CommitMessage message,
               std::string_view unchanged, std::function<void(const std::string&)> note)
      : api_(api),
        revision_(std::move(revision)),
        parent_(std::move(parent)),
        message_(std::move(message)),
        unchanged_(unchanged),
        note_(std::move(note)) {}

  // Makes these commits, and marks their items as landed. What is too large for the hub is halved, with all
  // that is left. False when somebody else's commit came in between: then the caller plans again, and calls
  // again upon set_parent(). Throws as send_commit().
  bool send(std::vector<CommitItems> commits);

  void set_parent(std::string parent) { parent_ = std::move(parent); }
  [[nodiscard]] const std::vector<CommitResult>& made() const { return made_; }

  // After at least one commit: `why` with what was made before it. kTemporary stays so, the rest is kPartial.
  [[nodiscard]] Error partial(const Error& why) const;

 private:
  // A commit that was too large for the hub's gateway, and may be made by the hub all the same, later.
  struct Late {
    std::string title;
    CommitItems items;
    CommitResult made;
  };
  bool find_late(Late& late) const;  // whether it stands there now

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
