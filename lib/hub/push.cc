// SPDX-License-Identifier: Apache-2.0
// The order of a push is what makes it safe to stop at any moment:
//   1. the guard looks at every file before anything leaves this machine;
//   2. the repository and the branch are found or made (push_target.h), and remembered as the parent;
//   3. the hub is asked about each file, and the plan is made (planner.h, plan.h);
//   4. every byte goes into storage (lfs.h), where nobody sees it yet; a journal remembers pieces of large files;
//   5. a commit on top of the parent makes everything visible at once (commits.h);
//   6. --verify and --tag look at the commit that came of it.
// Requests are repeated by the session, links to storage are renewed by lfs.h, and a commit whose answer was
// lost is looked for by commit.h. What is repeated here is one thing: when somebody else's commit comes
// first, the push is planned again on top of it, once. A failure before the first commit leaves the
// repository as it was (a new branch or repository excepted) and is thrown; a later one is kept in the
// result, since some of the work is then public.
#include "hub/push.h"

#include <fmt/format.h>

#include <optional>
#include <set>

#include "base/text.h"
#include "hub/commits.h"
#include "hub/guard.h"
#include "hub/ignored.h"
#include "hub/journal.h"
#include "hub/part.h"
#include "hub/planner.h"
#include "hub/push_target.h"

namespace mu {
namespace {

class Push {
 public:
  Push(HubApi& api, const FileChoice& choice, HashCache& cache, Journal* journal, const PushOptions& options,
       const PushListener& listener)
      : api_(api),
        all_(choice),
        part_files_(options.part ? part_of(choice, *options.part) : FileChoice()),
        choice_(options.part ? part_files_ : choice),
        cache_(cache),
        journal_(journal),
        o_(options),
        listener_(listener),
        planner_(api, all_, choice_, cache, options, listener) {}

  PushResult run() {
    result_.repo = o_.repo;
    enforce_guard(guard_files(all_, o_.repo.type == RepoType::kModel, o_.jobs, cache_, listener_.detail),
                  o_.allowed, listener_.warning);
    if (o_.dry_run && !api_.session().has_token()) {
      check_public_visibility(api_, o_, listener_);
      result_.plan = planner_.plan_unasked();
      result_.asked = false;
      return std::move(result_);
    }
    target_ = prepare_target(api_, o_, listener_, [this] { planner_.refuse_foreseen(); });
    result_.created_repo = target_.created_repo;
    planner_.validate_card();
    result_.plan = target_.missing_repo ? planner_.plan_unasked() : planner_.plan(target_.known_revision);
    if (o_.dry_run) {
      result_.bytes_to_send = count_bytes();
      return std::move(result_);
    }
    if (o_.part) {
      store();
      journal_->remove();
      return std::move(result_);
    }
    if (!result_.plan.has_changes()) {
      result_.url = api_.commit_url(target_.parent);
    } else {
      store();
      commit_all();
    }
    if (!result_.failure) finish();
    return std::move(result_);
  }

 private:
  void finish() {
    try {
      if (o_.verify) verify();
      if (!o_.tag.empty()) api_.create_tag(o_.tag, head(), o_.message.title);
    } catch (const Error& error) {
      if (!series_ || series_->made().empty() || error.kind() == ErrorKind::kAnswerNo) throw;
      result_.failure = series_->partial(error);
    }
  }

  // The commit that holds what was pushed.
  [[nodiscard]] std::string head() const {
    return result_.commits.empty() ? target_.parent : result_.commits.back();
  }

  // What goes to storage, each content once.
  [[nodiscard]] std::vector<LfsObject> objects() const {
    std::vector<LfsObject> list;
    std::set<std::string_view> seen;
    for (const PushItem& item : result_.plan.items) {
      const bool sent = item.action == PushAction::kNew || item.action == PushAction::kChanged;
      if (sent && item.storage == Storage::kLfs && seen.insert(item.oid).second)
        list.push_back({item.oid, item.size, item.local});
    }
    return list;
  }

  std::uint64_t count_bytes() {
    std::uint64_t bytes = 0;
    for (const PushItem& item : result_.plan.items) {
      const bool sent = item.action == PushAction::kNew || item.action == PushAction::kChanged;
      if (sent && item.storage != Storage::kLfs) bytes += item.size;
    }
    return bytes + (target_.missing_repo
                        ? 0
                        : count_missing(api_, objects(), o_.create_pr ? "" : target_.known_revision));
  }

  void store() {
    const std::vector<LfsObject> list = objects();
    std::uint64_t total = 0;
    for (const LfsObject& object : list) total += object.size;
    UploadOptions upload;
    upload.revision = o_.create_pr || o_.revision.starts_with("refs/pr/") ? "" : target_.known_revision;
    upload.jobs = o_.jobs;
    upload.on_bytes = listener_.progress("sending", total);
    upload.detail = listener_.detail;
    const UploadCounts counts = upload_objects(api_, *journal_, list, upload);
    result_.counts.sent += counts.sent;
    result_.counts.stored_before += counts.stored_before;
    if (const std::string fault = journal_->fault(); !fault.empty())
      listener_.warning("no journal was kept, so a push that is killed starts from the beginning: " + fault);
  }

  // Where commits go: the branch, or a pull request that is opened for them.
  std::string open_revision() {
    if (!o_.create_pr) return o_.revision;
    const std::string description =
        o_.message.description.empty() ? o_.message.title : o_.message.description;
    result_.pull_request = api_.open_pull_request(o_.message.title, description);
    const std::string revision = "refs/pr/" + std::to_string(result_.pull_request);
    listener_.note(fmt::format("opened pull request {}; to add to it later, use --revision {}",
                               result_.pull_request, revision));
    target_.parent = api_.find_revision(revision).commit;
    return revision;
  }

  void commit_all() {
    const std::string revision = open_revision();
    const bool untouched = !result_.created_repo && !target_.created_branch && !o_.create_pr;
    series_.emplace(api_, revision, target_.parent, o_.message,
                    untouched ? "the repository is unchanged" : "nothing was committed", listener_.note);
    try {
      send_series(revision);
    } catch (const Error& error) {
      if (series_->made().empty()) throw;
      result_.failure = series_->partial(error);
    }
    for (const CommitResult& made : series_->made()) result_.commits.push_back(made.commit);
    result_.url = o_.create_pr ? api_.pull_request_url(result_.pull_request)
                  : series_->made().empty()
                      ? api_.commit_url(target_.parent)  // somebody else pushed the same
                      : series_->made().back().url;
    if (!result_.failure) journal_->remove();
  }

  void send_series(const std::string& revision) {
    bool planned_again = false;
    while (!series_->send(split_commits(result_.plan, o_.max_commit_files))) {
      if (planned_again || !o_.expected_parent.empty())
        throw Error(ErrorKind::kRemote,
                    fmt::format("{} has moved on during this push", escape_name(revision)))
            .hint("run the same command again");
      planned_again = true;
      listener_.note(fmt::format("{} has moved on; planning again", escape_name(revision)));
      plan_again(revision);
      series_->set_parent(target_.parent);
    }
  }

  void plan_again(const std::string& revision) {
    target_.known_revision = revision;
    target_.parent = api_.find_revision(revision).commit;
    const std::vector<PushItem> before = std::move(result_.plan.items);
    result_.plan = planner_.plan(revision);
    if (result_.plan.has_changes()) store();
    keep_landed(result_.plan, before);
  }

  // Every file pushed or found the same, by both its hashes here and by the one that the hub keeps there.
  void verify() {
    require_model_files(result_.plan);
    std::vector<PushItem> kept;
    for (const PushItem& item : result_.plan.items) {
      if (item.local != nullptr && item.action != PushAction::kIgnored) kept.push_back(item);
    }
    std::vector<const PushItem*> items;
    for (PushItem& item : kept) {
      if (item.oid.empty())
        item.oid = hash_file(item.local->path, item.local->stamp, {.blob = true}, {}).blob;
      items.push_back(&item);
    }
    const std::vector<std::string> differing = find_differing(api_, head(), items);
    if (!differing.empty())
      throw Error(ErrorKind::kAnswerNo,
                  fmt::format("{} at {} differs from here: {}", plural(differing.size(), "file"), head(),
                              escape_name(differing.front())));
    for (PushItem& item : kept) {
      if (item.storage != Storage::kLfs)
        item.oid = hash_file(item.local->path, item.local->stamp, {.sha256 = true}, {}).sha256;
    }
    result_.verified = std::move(kept);
  }

  HubApi& api_;
  const FileChoice& all_;
  const FileChoice part_files_;
  const FileChoice& choice_;  // what this run is about
  HashCache& cache_;
  Journal* journal_;
  const PushOptions& o_;
  const PushListener& listener_;
  const PushPlanner planner_;
  PushTarget target_;
  PushResult result_;
  std::optional<CommitSeries> series_;
};

}  // namespace

PushResult push_to_hub(HubSession& session, const FileChoice& choice, HashCache& cache,
                       const PushOptions& given, const PushListener& listener) {
  PushOptions options = given;
  if (!session.has_token() && !options.dry_run)
    throw Error(ErrorKind::kRemote, "no token found").hint("set HF_TOKEN, or log in with hf auth login");
  HubApi api(session, options.repo);
  if (!options.repo.has_owner() && session.has_token()) {
    api.set_owner(api.whoami());
    options.repo = api.repo();
  }
  const std::string file =
      journal_path(options.state, session.endpoint(), options.repo, options.revision, options.prefix);
  adopt_part_hashes(cache, file, choice);
  if (options.dry_run) return Push(api, choice, cache, nullptr, options, listener).run();
  if (options.part) leave_part_hashes(cache, file, part_of(choice, *options.part), *options.part);
  Journal journal(options.part ? part_journal_path(file, *options.part) : file);
  PushResult result = Push(api, choice, cache, &journal, options, listener).run();
  if (!options.part && !result.failure) remove_part_hashes(file);
  return result;
}

}  // namespace mu
