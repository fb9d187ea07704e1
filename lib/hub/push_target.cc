// SPDX-License-Identifier: Apache-2.0
#include "hub/push_target.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

class Preparation {
 public:
  Preparation(HubApi& api, const PushOptions& options, const PushListener& listener)
      : api_(api), o_(options), listener_(listener) {}

  PushTarget run(const std::function<void()>& before_create) {
    target_.known_revision = o_.revision;
    RevisionState state = find(o_.revision);
    // Only the hub makes these.
    if (state.found != RevisionState::Found::kYes && o_.revision.starts_with("refs/"))
      throw Error(ErrorKind::kRemote, fmt::format("{} has no {}, or this token may not see it", o_.repo.id,
                                                  escape_name(o_.revision)))
          .hint("--create-pr opens a pull request");
    if (state.found == RevisionState::Found::kNoRepo) {
      if (!o_.create)
        throw Error(
            ErrorKind::kRemote,
            fmt::format("the repository {} does not exist, or this token may not see it", o_.repo.id));
      if (o_.dry_run) {
        target_.missing_repo = true;
        return target_;
      }
      before_create();
      target_.created_repo = api_.create_repo(o_.make_private);
      if (target_.created_repo) listener_.note(fmt::format("created the repository {}", o_.repo.id));
      state = find(o_.revision);  // it may have been there, hidden from this token
    }
    if (state.found == RevisionState::Found::kNoRevision && o_.revision != "main") state = find_branch();
    target_.parent = state.commit;
    require_expected_parent();
    return target_;
  }

  // What is meant to be secret must not go to a repository that everybody can see.
  void check_visibility(const RevisionState& state) {
    if (!o_.make_private || state.found != RevisionState::Found::kYes || visibility_checked_) return;
    visibility_checked_ = true;
    if (!state.is_private) {
      listener_.warning(fmt::format("the hub does not say whether {} is public or private", o_.repo.id));
    } else if (*o_.make_private && !*state.is_private) {
      throw refused(fmt::format("{} exists and is public, so --private does not hold", o_.repo.id))
          .hint("make it private in its settings, or leave --private out");
    } else if (!*o_.make_private && *state.is_private) {
      listener_.warning(fmt::format("{} exists and is private; --no-private has no effect", o_.repo.id));
    }
  }

 private:
  RevisionState find(const std::string& revision) {
    RevisionState state = api_.find_revision(revision);
    check_visibility(state);
    return state;
  }

  // A branch begins at main. A dry run and a part don't make it, and ask about main instead.
  RevisionState find_branch() {
    RevisionState main = find("main");
    if (o_.dry_run || o_.part) {
      target_.known_revision = "main";
      return main;
    }
    target_.created_branch = api_.create_branch(o_.revision);
    if (target_.created_branch)
      listener_.note(fmt::format("created the branch {}", escape_name(o_.revision)));
    return api_.find_revision(o_.revision);
  }

  void require_expected_parent() const {
    if (o_.expected_parent.empty() || target_.parent.starts_with(o_.expected_parent)) return;
    throw Error(ErrorKind::kRemote,
                fmt::format("{} is at {}, not at {}", escape_name(o_.revision),
                            target_.parent.empty() ? "no commit" : target_.parent, o_.expected_parent))
        .hint("somebody else has pushed: look at it, then name the new commit");
  }

  HubApi& api_;
  const PushOptions& o_;
  const PushListener& listener_;
  PushTarget target_;
  bool visibility_checked_ = false;
};

}  // namespace

PushTarget prepare_target(HubApi& api, const PushOptions& options, const PushListener& listener,
                          const std::function<void()>& before_create) {
  return Preparation(api, options, listener).run(before_create);
}

void check_public_visibility(HubApi& api, const PushOptions& options, const PushListener& listener) {
  if (!options.make_private) return;
  try {
    Preparation(api, options, listener).check_visibility(api.find_revision("main"));
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kRefused) throw;
    listener.warning(
        fmt::format("can't tell whether {} is public or private: {}", options.repo.id, error.message()));
  }
}

}  // namespace mu
