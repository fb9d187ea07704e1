// SPDX-License-Identifier: Apache-2.0
#include "hub/planner.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "hub/attributes.h"
#include "hub/guard.h"
#include "hub/ignored.h"
#include "os/threads.h"

namespace mu {
namespace {

PreuploadFile sample(const LocalFile& local) {
  const InputFile file(local.path);
  PreuploadFile asked{local.name, local.stamp.size, ""};
  asked.sample.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kSampleBytes, local.stamp.size)));
  file.read_at(0, std::as_writable_bytes(std::span(asked.sample)));
  return asked;
}

}  // namespace

PushPlan PushPlanner::plan(const std::string& revision) const {
  std::vector<PreuploadAnswer> answers = ask(revision);
  std::vector<RemoteFile> remote;
  if (!o_.deletions.empty() && !o_.part) remote = api_.list_files(revision, o_.prefix);
  check_regular(answers);
  std::vector<WantedHashes> wanted;
  for (const PreuploadAnswer& answer : answers) wanted.push_back(wanted_hashes(answer));
  std::vector<FileHashes> hashes = hash_files(choice_, wanted, cache_, listener_);
  find_present(revision, answers, hashes);
  PushPlan plan = plan_push(choice_, answers, hashes, remote, o_.deletions, o_.prefix);
  report_ignored(plan, o_.allowed, listener_.note, listener_.warning);
  return plan;
}

PushPlan PushPlanner::plan_unasked() const {
  PushPlan plan = plan_push(choice_, {}, {}, {}, {}, o_.prefix);
  if (const std::optional<std::string> own = root_file(all_, ".gitignore"))
    mark_ignored(plan, IgnoreRules(*own));
  report_ignored(plan, o_.allowed, listener_.note, listener_.warning);
  return plan;
}

void PushPlanner::refuse_foreseen() const {
  const std::optional<std::string> own = root_file(all_, ".gitignore");
  if (!own || std::find(o_.allowed.begin(), o_.allowed.end(), "ignored") != o_.allowed.end()) return;
  PushPlan foreseen = plan_push(all_, {}, {}, {}, {}, o_.prefix);
  mark_ignored(foreseen, IgnoreRules(*own));
  std::vector<std::string>
      notes;  // reported once: here if the push ends here, else when the hub has been asked
  try {
    report_ignored(
        foreseen, o_.allowed, [&notes](const std::string& note) { notes.push_back(note); },
        listener_.warning);
  } catch (const FilesRefused&) {
    for (const std::string& note : notes) listener_.note(note);
    throw;
  }
}

void PushPlanner::validate_card() const {
  for (const LocalFile& file : choice_.files) {
    if (file.name != "README.md" || file.stamp.size > kMaxRegularFile) continue;
    for (const std::string& warning : api_.validate_card(read_whole_file(file.path, kMaxRegularFile)))
      listener_.warning("README.md: " + warning);
  }
}

std::vector<PreuploadAnswer> PushPlanner::ask(const std::string& revision) const {
  std::vector<PreuploadAnswer> answers(choice_.files.size());
  RootFiles own{root_file(all_, ".gitignore"), root_file(all_, kAttributes)};
  if (!own.gitignore && is_deleted(o_.deletions, o_.prefix, ".gitignore")) own.gitignore = "";
  const std::size_t groups = (answers.size() + kPreuploadGroup - 1) / kPreuploadGroup;
  parallel_for(groups, o_.jobs, [&](std::size_t group) {
    const std::size_t begin = group * kPreuploadGroup,
                      end = std::min(begin + kPreuploadGroup, answers.size());
    std::vector<PreuploadFile> files;
    for (std::size_t i = begin; i < end; ++i) files.push_back(sample(choice_.files[i]));
    const std::vector<PreuploadAnswer> some = api_.preupload(revision, files, own, o_.create_pr);
    std::copy(some.begin(), some.end(), answers.begin() + static_cast<std::ptrdiff_t>(begin));
  });
  return answers;
}

// What is there as it is here, though the answers look otherwise: files that are ignored but were pushed
// before (some hubs say so of everything they have), and a .gitattributes that the hub has amended.
void PushPlanner::find_present(const std::string& revision, std::vector<PreuploadAnswer>& answers,
                               std::vector<FileHashes>& hashes) const {
  std::vector<WantedHashes> wanted(answers.size());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const LocalFile& file = choice_.files[i];
    if (answers[i].ignored) {
      names.push_back(file.name);
      wanted[i] = {true, true};
    } else if (file.name == kAttributes && !answers[i].oid.empty() && answers[i].oid != hashes[i].blob) {
      if (is_amended_there(api_, revision,
                           {file.name, PushAction::kChanged, Storage::kRegular, file.stamp.size, "", &file}))
        hashes[i].blob = answers[i].oid;
    }
  }
  if (names.empty()) return;
  std::map<std::string, RemoteFile> there;
  for (RemoteFile& file : api_.find_files(revision, names)) there.emplace(file.path, file);
  if (there.empty()) return;
  const std::vector<FileHashes> both = hash_files(choice_, wanted, cache_, listener_);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto found = there.find(choice_.files[i].name);
    if (!answers[i].ignored || found == there.end()) continue;
    const bool lfs = !found->second.sha256.empty();
    if ((lfs ? found->second.sha256 : found->second.blob) != (lfs ? both[i].sha256 : both[i].blob)) continue;
    answers[i] = {lfs, false, lfs ? both[i].sha256 : both[i].blob};
    hashes[i] = both[i];
  }
}

void PushPlanner::check_regular(const std::vector<PreuploadAnswer>& answers) const {
  std::vector<GuardFinding> findings;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const LocalFile& file = choice_.files[i];
    if (!answers[i].lfs && !answers[i].ignored && file.stamp.size > kMaxRegularFile)
      findings.push_back(too_large_for_git(file.name, file.stamp.size));
  }
  enforce_guard(findings, o_.allowed, listener_.warning);
}

}  // namespace mu
