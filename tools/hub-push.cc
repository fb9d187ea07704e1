// SPDX-License-Identifier: Apache-2.0
// hub-push: publish a folder or a file. Options become a push; its plan is printed or carried out.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "base/text.h"
#include "ckpt/scan.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "hub-push-options.h"
#include "hub/cache_push.h"
#include "hub/report.h"
#include "model/links.h"
#include "model/roles.h"
#include "net/environment.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/spool.h"

namespace {

using namespace mu;

FileChoice choose(const HubPushOptions& o, const std::string& local, const PushOptions& push,
                  std::optional<InputFile>& spooled) {
  // A path that ends in "/" is the folder of a file.
  const bool into_folder = push.prefix.empty() || o.operands.back().ends_with('/');
  if (local == "-") {
    if (into_folder) throw usage("standard input needs a name: give a PATH_IN_REPO");
    spooled = spool_stream(0, "standard input");
    const std::string path = fmt::format("/proc/self/fd/{}", spooled->fd()->get());
    return choose_file(path, push.prefix);
  }
  if (!exists(local) && exists(o.operands[1]))
    throw Error(ErrorKind::kUsage, fmt::format("'{}' does not exist", escape_name(local)))
        .hint(
            fmt::format("LOCAL comes first: hub-push {} {}", escape_name(o.operands[1]), escape_name(local)));
  if (!is_folder(local))
    return choose_file(local, into_folder ? join_path(push.prefix, base_name(local)) : push.prefix);
  const bool all = o.all || push.repo.type != RepoType::kModel;
  return choose_folder(local, push.prefix, {o.include, o.exclude, all, o.follow_symlinks});
}

bool has_weights(const FileChoice& choice) {
  return std::any_of(choice.files.begin(), choice.files.end(), [](const LocalFile& file) {
    const FileRole role = role_of(base_name(file.name), false);
    return role == FileRole::kWeights || role == FileRole::kTorchWeights || role == FileRole::kOtherWeights;
  });
}

// The checkpoints that lie in a folder, by step.
std::vector<std::string> checkpoints_in(const std::string& folder) {
  const CheckpointNames names;
  std::vector<std::pair<std::uint64_t, std::string>> found;
  for (const FolderEntry& entry : list_folder(folder)) {
    if (names.matches(entry.name, entry.kind == FolderEntry::Kind::kFolder))
      found.emplace_back(names.number_of(entry.name).value_or(0), entry.name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> sorted;
  for (auto& [step, name] : found) sorted.push_back(std::move(name));
  return sorted;
}

// Of the folder of a training run nothing but logs and a card would be left: one of its checkpoints is meant.
void refuse_run_folder(const HubPushOptions& o, const std::string& local, const FileChoice& choice,
                       const PushOptions& push) {
  if (o.all || !o.include.empty() || push.repo.type != RepoType::kModel || !is_folder(local)) return;
  if (has_weights(choice)) return;
  const std::vector<std::string> checkpoints = checkpoints_in(local);
  if (checkpoints.empty()) return;
  const std::string some = checkpoints.size() <= 4
                               ? join(checkpoints, ", ")
                               : fmt::format("{} to {}", checkpoints.front(), checkpoints.back());
  throw refused(fmt::format("holds the checkpoints of a run ({}), but no model of its own", some))
      .in_file(escape_name(local))
      .hint(fmt::format("push one of them, as {}; --every TIME pushes each new one",
                        escape_name(join_path(local, checkpoints.back()))));
}

void tell_choice(const FileChoice& choice) {
  for (const LeftOutFile& file : choice.left_out)
    print_note(fmt::format("{}: left out: {}", escape_name(file.name), file.reason));
  for (const std::string& pattern : choice.idle_patterns)
    print_warning(fmt::format("no file matches '{}'", escape_name(pattern)));
}

PushListener listener(const HubPushOptions& o, std::unique_ptr<Progress>& progress) {
  return {
      print_note, print_warning, print_detail,
      [&o, &progress](const std::string& what, std::uint64_t total) -> std::function<void(std::uint64_t)> {
        progress = std::make_unique<Progress>(what, total, o.common.show_progress() && total > 0);
        return [&progress](std::uint64_t bytes) { progress->add(bytes); };
      }};
}

void print_result(const HubPushOptions& o, const PushOptions& push, const PushResult& result) {
  if (o.common.json) return out(push_json(result, push));
  if (push.dry_run) return out(push_plan_text(result));
  if (push.part) return print_note(part_summary(result, *push.part));
  print_note(push_summary(result));
  if (push.verify) {
    out(push_manifest(result));
    print_note(result.url);
  } else {
    out(result.url + "\n");
  }
}

PushResult push_to_hub(const HubPushOptions& o, const FileChoice& choice, HashCache& cache,
                       PushOptions& push_to, const PushListener& listener) {
  HubConnection connection(connection_options(o));
  HubSession& session = connection.session();
  if (!session.has_token() && !push_to.dry_run)
    throw Error(ErrorKind::kRemote, "no token found").hint("set HF_TOKEN, or log in with hf auth login");
  HubApi api(session, push_to.repo);
  if (!push_to.repo.has_owner() && session.has_token()) {
    api.set_owner(api.whoami());
    push_to.repo = api.repo();
  }
  const std::string journal_file = journal_path(session.endpoint(), push_to);
  std::optional<Journal> journal;
  adopt_part_hashes(cache, journal_file, choice);
  if (!push_to.dry_run && push_to.part)
    leave_part_hashes(cache, journal_file, part_of(choice, *push_to.part), *push_to.part);
  if (!push_to.dry_run)
    journal.emplace(push_to.part ? part_journal_path(journal_file, *push_to.part) : journal_file);
  PushResult result = push(api, choice, cache, journal ? &*journal : nullptr, push_to, listener);
  if (!push_to.dry_run && !push_to.part && !result.failure) remove_part_hashes(journal_file);
  return result;
}

// A folder for what is ours; nowhere, where it lies in the folder that is pushed or may not be looked at.
std::string kept_out(const std::string& local, const std::string& folder) {
  if (folder.empty()) return "";
  try {
    static_cast<void>(exists(folder));
  } catch (const Error& error) {
    print_warning(fmt::format("can't keep a record for the next run: {}", error.what()));
    return "";
  }
  return !is_folder(local) || !lies_in(local, folder) ? folder : "";
}

int push_once(const HubPushOptions& o, const std::string& local, PushOptions push_to) {
  std::optional<InputFile> spooled;
  const FileChoice choice = choose(o, local, push_to, spooled);
  refuse_run_folder(o, local, choice, push_to);
  tell_choice(choice);
  if (choice.files.empty() && push_to.deletions.empty()) throw refused("no file is left to push");
  const std::string own_cache = kept_out(local, cache_home());
  push_to.state = kept_out(local, state_home());
  HashCache cache(own_cache.empty() ? "" : join_path(own_cache, "hashes"));
  std::unique_ptr<Progress> progress;
  const std::optional<std::string> folder = cache_of_endpoint(o.endpoint);
  if (!folder && (o.link || o.prune)) throw usage("--link and --prune-revisions need a file:// endpoint");
  if (folder && o.part) throw usage("--part can't write into a cache folder");
  if (folder && push_to.make_private)
    throw usage("--private and --no-private don't apply to a cache folder")
        .hint("its file modes decide who may read it");
  try {
    const PushResult result = folder ? push_to_cache(*folder, choice, cache, push_to, listener(o, progress))
                                     : push_to_hub(o, choice, cache, push_to, listener(o, progress));
    progress.reset();
    if (o.common.json || !result.failure) print_result(o, push_to, result);
    if (result.failure) throw *result.failure;
  } catch (const Interrupted&) {
    progress.reset();
    print_note("interrupted; run the same command again to continue");
    throw;
  }
  return 0;
}

// The newest checkpoint of a run that is complete; empty where there is none yet.
std::string newest_checkpoint(const std::string& run) {
  FoundRuns found = find_runs({run}, false, CheckpointNames());
  for (const Error& failure : found.failures) throw failure;
  const std::vector<RunFacts> runs = scan_runs(found.runs, CheckpointNames(), {});
  if (runs.front().failure) throw *runs.front().failure;
  std::string newest;
  for (const CheckpointFacts& checkpoint : runs.front().checkpoints) {
    if (checkpoint.is_complete() && !checkpoint.writer) newest = checkpoint.name;
  }
  return newest;
}

// Until a signal ends it. A hub that is down is tried again next time, a checkpoint whose files are refused
// is passed by; what the hub refuses for good ends the loop.
int push_every(const HubPushOptions& o, const PushOptions& push_to) {
  const bool minutes = o.every->find_first_not_of("0123456789") == std::string::npos;
  const std::uint32_t pause = parse_duration(minutes ? *o.every + "m" : *o.every);
  if (pause == 0) throw usage("--every must be more than 0");
  std::string newest, pushed;
  while (true) {
    try {
      newest = newest_checkpoint(o.operands[0]);
      if (!newest.empty() && newest != pushed) {
        push_once(o, join_path(o.operands[0], newest), push_to);
        flush_out();
        pushed = newest;
      }
    } catch (const FilesRefused& refusal) {
      print_error(fmt::format("{}: {}", escape_name(newest), refusal.what()));
      pushed = newest;  // said once; the next one may pass
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kTemporary) throw;
      print_warning(std::string(error.what()) + "; trying again next time");
    }
    SessionClock::real().sleep(pause);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return mu::run("hub-push", [&] {
    const HubPushOptions options = parse_hub_push_options(argc, argv);
    const PushOptions push_to = push_options(options);
    return options.every ? push_every(options, push_to) : push_once(options, options.operands[0], push_to);
  });
}
