// SPDX-License-Identifier: Apache-2.0
#include "hub/push.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/bytes.h"
#include "base/sizes.h"
#include "base/text.h"
#include "hash/sha256.h"
#include "hub/attributes.h"
#include "hub/ignored.h"
#include "net/environment.h"
#include "os/folder.h"
#include "os/threads.h"

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
        listener_(listener) {}

  PushResult run() {
    enforce_guard(guard_files(all_, o_.repo.type == RepoType::kModel, o_.jobs, cache_, listener_.detail),
                  o_.allowed, listener_.warning);
    if (o_.dry_run && !api_.session().has_token()) {
      check_visibility_unasked();
      result_.plan = plan_push(choice_, {}, {}, {}, {}, o_.prefix);
      result_.asked = false;
      foresee_ignored();
      tell_ignored(result_.plan, o_.allowed, listener_.note, listener_.warning);
      return std::move(result_);
    }
    prepare_revision();
    validate_card();
    make_plan();
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
      result_.url = api_.commit_url(parent_);
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
    return result_.commits.empty() ? parent_ : result_.commits.back();
  }

  void prepare_revision() {
    RevisionState state = api_.find_revision(o_.revision);
    check_visibility(state);
    // Those are made by the hub alone.
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
        missing_repo_ = true;
        return;
      }
      refuse_foreseen();
      result_.created_repo = api_.create_repo(o_.make_private);
      if (result_.created_repo) listener_.note(fmt::format("created the repository {}", o_.repo.id));
      state = api_.find_revision(o_.revision);
      check_visibility(state);  // it may have been there after all, hidden from this token
    }
    if (state.found == RevisionState::Found::kNoRevision && o_.revision != "main") {
      const RevisionState main = api_.find_revision("main");
      check_visibility(main);
      if (o_.dry_run || o_.part) {
        state = main;
        base_ = "main";
      } else {
        created_branch_ = api_.create_branch(o_.revision);
        if (created_branch_) listener_.note(fmt::format("created the branch {}", escape_name(o_.revision)));
        state = api_.find_revision(o_.revision);
      }
    }
    parent_ = state.commit;
    if (!o_.expected_parent.empty() && !parent_.starts_with(o_.expected_parent))
      throw Error(ErrorKind::kRemote,
                  fmt::format("{} is at {}, not at {}", escape_name(o_.revision),
                              parent_.empty() ? "no commit" : parent_, o_.expected_parent))
          .hint("somebody else has pushed: look at it, then name the new commit");
  }

  // A wish that an existing repository does not meet: what is secret would be seen.
  void check_visibility(const RevisionState& state) {
    if (!o_.make_private || state.found != RevisionState::Found::kYes || visibility_told_) return;
    visibility_told_ = true;
    if (!state.is_private) {
      listener_.warning(fmt::format("the hub does not say whether {} is public or private", o_.repo.id));
    } else if (*o_.make_private && !*state.is_private) {
      throw refused(fmt::format("{} exists and is public, so --private does not hold", o_.repo.id))
          .hint("make it private in its settings, or leave --private out");
    } else if (!*o_.make_private && *state.is_private) {
      listener_.warning(fmt::format("{} exists and is private; --no-private changes nothing", o_.repo.id));
    }
  }

  // Without a token: what everybody may see.
  void check_visibility_unasked() {
    if (!o_.make_private) return;
    try {
      check_visibility(api_.find_revision("main"));
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kRefused) throw;
      listener_.warning(
          fmt::format("whether {} is public or private is not known: {}", o_.repo.id, error.message()));
    }
  }

  [[nodiscard]] const std::string& base() const { return base_.empty() ? o_.revision : base_; }

  void validate_card() const {
    for (const LocalFile& file : choice_.files) {
      if (file.name != "README.md" || file.stamp.size > kMaxRegularFile) continue;
      for (const std::string& warning : api_.validate_card(read_whole_file(file.path, kMaxRegularFile)))
        listener_.warning("README.md: " + warning);
    }
  }

  std::vector<PreuploadAnswer> ask() const {
    std::vector<PreuploadAnswer> answers(choice_.files.size());
    RootFiles own{root_file(all_, ".gitignore"), root_file(all_, std::string(kAttributes))};
    if (!own.gitignore && is_deleted(o_.deletions, o_.prefix, ".gitignore")) own.gitignore = "";
    const std::size_t groups = (answers.size() + kPreuploadGroup - 1) / kPreuploadGroup;
    parallel_for(groups, o_.jobs, [&](std::size_t group) {
      const std::size_t begin = group * kPreuploadGroup,
                        end = std::min(begin + kPreuploadGroup, answers.size());
      std::vector<PreuploadFile> files;
      for (std::size_t i = begin; i < end; ++i) files.push_back(sample(choice_.files[i]));
      const std::vector<PreuploadAnswer> part = api_.preupload(base(), files, own, o_.create_pr);
      std::copy(part.begin(), part.end(), answers.begin() + static_cast<std::ptrdiff_t>(begin));
    });
    return answers;
  }

  static PreuploadFile sample(const LocalFile& local) {
    const InputFile file(local.path);
    PreuploadFile asked{local.name, local.stamp.size, ""};
    asked.sample.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kSampleBytes, local.stamp.size)));
    file.read_at(0, std::as_writable_bytes(std::span(asked.sample)));
    return asked;
  }

  void make_plan() {
    std::vector<PreuploadAnswer> answers;
    std::vector<RemoteFile> remote;
    if (!missing_repo_) {
      answers = ask();
      if (!o_.deletions.empty() && !o_.part) remote = api_.list_files(base(), o_.prefix);
      check_regular(answers);
      std::vector<WantedHashes> wanted;
      for (const PreuploadAnswer& answer : answers) wanted.push_back(wanted_hashes(answer));
      hashes_ = hash_files(choice_, wanted, cache_, listener_);
      find_present(answers);
    }
    result_.plan = plan_push(choice_, answers, hashes_, remote, o_.deletions, o_.prefix);
    if (answers.empty()) foresee_ignored();
    tell_ignored(result_.plan, o_.allowed, listener_.note, listener_.warning);
  }

  // Without a hub's word on it.
  void foresee_ignored() {
    if (const std::optional<std::string> own = root_file(all_, ".gitignore"))
      mark_ignored(result_.plan, IgnoreRules(*own));
  }

  // Before a repository is made for what will be refused.
  void refuse_foreseen() {
    const std::optional<std::string> own = root_file(all_, ".gitignore");
    if (!own || std::find(o_.allowed.begin(), o_.allowed.end(), "ignored") != o_.allowed.end()) return;
    PushPlan foreseen = plan_push(all_, {}, {}, {}, {}, o_.prefix);
    mark_ignored(foreseen, IgnoreRules(*own));
    std::vector<std::string> notes;  // said again otherwise when the hub has told what it ignores
    try {
      tell_ignored(
          foreseen, o_.allowed, [&notes](const std::string& note) { notes.push_back(note); },
          listener_.warning);
    } catch (const FilesRefused&) {
      for (const std::string& note : notes) listener_.note(note);
      throw;
    }
  }

  // What is there as it is here, though the answers look otherwise: files that are ignored but were pushed
  // before (some hubs say so of everything they have), and a .gitattributes that the hub has amended.
  void find_present(std::vector<PreuploadAnswer>& answers) {
    std::vector<WantedHashes> wanted(answers.size());
    std::vector<std::string> names;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const LocalFile& file = choice_.files[i];
      if (answers[i].ignored) {
        names.push_back(file.name);
        wanted[i] = {true, true};
      } else if (file.name == kAttributes && !answers[i].oid.empty() && answers[i].oid != hashes_[i].blob) {
        if (is_amended_there(
                api_, base(),
                {file.name, PushAction::kChanged, Storage::kRegular, file.stamp.size, "", &file}))
          hashes_[i].blob = answers[i].oid;
      }
    }
    if (names.empty()) return;
    std::map<std::string, RemoteFile> there;
    for (RemoteFile& file : api_.find_files(base(), names)) there.emplace(file.path, file);
    if (there.empty()) return;
    const std::vector<FileHashes> both = hash_files(choice_, wanted, cache_, listener_);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const auto found = there.find(choice_.files[i].name);
      if (!answers[i].ignored || found == there.end()) continue;
      const bool lfs = !found->second.sha256.empty();
      if ((lfs ? found->second.sha256 : found->second.blob) != (lfs ? both[i].sha256 : both[i].blob))
        continue;
      answers[i] = {lfs, false, lfs ? both[i].sha256 : both[i].blob};
      hashes_[i] = both[i];
    }
  }

  void check_regular(const std::vector<PreuploadAnswer>& answers) const {
    std::vector<GuardFinding> findings;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      const LocalFile& file = choice_.files[i];
      if (!answers[i].lfs && !answers[i].ignored && file.stamp.size > kMaxRegularFile)
        findings.push_back(too_large_for_git(file.name, file.stamp.size));
    }
    enforce_guard(findings, o_.allowed, listener_.warning);
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
    return bytes + (missing_repo_ ? 0 : count_missing(api_, objects(), o_.create_pr ? "" : base()));
  }

  void store() {
    const std::vector<LfsObject> list = objects();
    std::uint64_t total = 0;
    for (const LfsObject& object : list) total += object.size;
    UploadOptions upload;
    upload.revision = o_.create_pr || o_.revision.starts_with("refs/pr/") ? "" : base();
    upload.jobs = o_.jobs;
    upload.on_bytes = listener_.progress("sending", total);
    upload.detail = listener_.detail;
    const UploadCounts counts = upload_objects(api_, *journal_, list, upload);
    result_.counts.sent += counts.sent;
    result_.counts.stored_before += counts.stored_before;
    if (const std::string fault = journal_->fault(); !fault.empty())
      listener_.warning("no journal was kept, a killed push would begin again: " + fault);
  }

  // Where commits go: the branch, or a pull request that is opened for them.
  std::string open_revision() {
    if (!o_.create_pr) return o_.revision;
    const std::string description =
        o_.message.description.empty() ? o_.message.title : o_.message.description;
    result_.pull_request = api_.open_pull_request(o_.message.title, description);
    const std::string revision = "refs/pr/" + std::to_string(result_.pull_request);
    listener_.note(fmt::format("opened pull request {}; to go on with it later: --revision {}",
                               result_.pull_request, revision));
    parent_ = api_.find_revision(revision).commit;
    return revision;
  }

  void commit_all() {
    const std::string revision = open_revision();
    const bool untouched = !result_.created_repo && !created_branch_ && !o_.create_pr;
    series_.emplace(api_, revision, parent_, o_.message,
                    untouched ? "the repository is as it was" : "nothing was committed", listener_.note);
    try {
      send_series(revision);
    } catch (const Error& error) {
      if (series_->made().empty()) throw;
      result_.failure = series_->partial(error);
    }
    for (const CommitResult& made : series_->made()) result_.commits.push_back(made.commit);
    result_.url = o_.create_pr              ? api_.pull_request_url(result_.pull_request)
                  : series_->made().empty() ? api_.commit_url(parent_)  // somebody else pushed the same
                                            : series_->made().back().url;
    if (!result_.failure) journal_->remove();
  }

  void send_series(const std::string& revision) {
    bool planned_again = false;
    while (!series_->send(split_commits(result_.plan, o_.max_commit_files))) {
      if (planned_again || !o_.expected_parent.empty())
        throw Error(ErrorKind::kRemote,
                    fmt::format("{} has moved on while this push was made", escape_name(revision)))
            .hint("run the same command again");
      planned_again = true;
      listener_.note(fmt::format("{} has moved on meanwhile; planning again", escape_name(revision)));
      plan_again(revision);
      series_->set_parent(parent_);
    }
  }

  void plan_again(const std::string& revision) {
    base_ = revision;
    parent_ = api_.find_revision(revision).commit;
    const std::vector<PushItem> before = std::move(result_.plan.items);
    make_plan();
    if (result_.plan.has_changes()) store();
    keep_landed(result_.plan, before);
  }

  // Every file pushed or found the same, by both its hashes here and by the one that the hub keeps there.
  void verify() {
    require_parts(result_.plan);
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
  PushResult result_;
  std::vector<FileHashes> hashes_;  // beside choice_.files
  std::string parent_;              // commit that the push builds upon
  std::string base_;                // revision that is asked about, where it is not the one pushed to
  bool missing_repo_ = false, created_branch_ = false, visibility_told_ = false;
  std::optional<CommitSeries> series_;
};

}  // namespace

std::vector<FileHashes> hash_files(const FileChoice& choice, const std::vector<WantedHashes>& wanted,
                                   HashCache& cache, const PushListener& listener) {
  std::vector<FileHashes> hashes(choice.files.size());
  std::vector<std::size_t> unknown;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    const FileStamp& stamp = choice.files[i].stamp;
    if (!wanted[i].sha256 && !wanted[i].blob) continue;
    if (const std::optional<FileHashes> known = cache.find(stamp)) {
      hashes[i] = *known;
      if ((!wanted[i].sha256 || !known->sha256.empty()) && (!wanted[i].blob || !known->blob.empty()))
        continue;
    }
    unknown.push_back(i);
    bytes += stamp.size;
  }
  listener.detail(fmt::format("{} to hash of {}", unknown.size(), plural(hashes.size(), "file")));
  const std::function<void(std::uint64_t)> on_bytes = listener.progress("hashing", bytes);
  // The largest first: a thread that begins it last would be waited for.
  std::sort(unknown.begin(), unknown.end(), [&choice](std::size_t a, std::size_t b) {
    return choice.files[a].stamp.size > choice.files[b].stamp.size;
  });
  parallel_for(unknown.size(), default_thread_count(), [&](std::size_t i) {
    const LocalFile& file = choice.files[unknown[i]];
    hashes[unknown[i]] = hash_file(file.path, file.stamp, wanted[unknown[i]], on_bytes);
    cache.add(file.stamp, hashes[unknown[i]]);
  });
  try {
    cache.save();
  } catch (const Error& error) {
    listener.warning(std::string("hashes are not remembered: ") + error.what());
  }
  return hashes;
}

std::optional<std::string> root_file(const FileChoice& choice, std::string_view name) {
  for (const LocalFile& file : choice.files) {
    if (file.name == name && file.stamp.size <= kMaxRegularFile)
      return read_whole_file(file.path, kMaxRegularFile);
  }
  return std::nullopt;
}

PushResult push(HubApi& api, const FileChoice& choice, HashCache& cache, Journal* journal,
                const PushOptions& options, const PushListener& listener) {
  return Push(api, choice, cache, journal, options, listener).run();
}

std::string journal_path(const std::string& endpoint, const PushOptions& o) {
  if (o.state.empty()) return "";
  Sha256 key;
  key.update(as_bytes(fmt::format("{}\n{}\n{}\n{}\n{}", endpoint, repo_type_name(o.repo.type), o.repo.id,
                                  o.revision, o.prefix)));
  const std::string name = to_hex(key.finish()).substr(0, 32);
  return join_path(join_path(join_path(o.state, "hub-push"), name), "journal");
}

}  // namespace mu
