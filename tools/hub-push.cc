// SPDX-License-Identifier: Apache-2.0
// hub-push: publish a folder or a file. Options become a push; its plan is printed or carried out.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "base/duration.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "ckpt/scan.h"
#include "cli/app.h"
#include "cli/console.h"
#include "cli/part.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "hub/cache_push.h"
#include "hub/connection.h"
#include "hub/report.h"
#include "net/environment.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/spool.h"

namespace {

using namespace mu;

constexpr ProgramText kText = {"hub-push", "Publish a model folder or file on the Hugging Face Hub.",
                               "LOCAL REPO [PATH_IN_REPO]", "hub-push ./out user/repo"};

struct Options {
  std::vector<std::string> operands;
  std::vector<std::string> include, exclude, deletions, allow;
  std::optional<std::string> revision, type, endpoint, expect_parent, tag, message, description;
  std::optional<std::string> limit_rate, max_wait, timeout, max_commit_files, every;
  bool make_private = false, make_public = false, create_pr = false, no_create = false;
  bool link = false, prune = false;
  bool all = false, follow_symlinks = false, verify = false, insecure_http = false;
  std::optional<Share> part;
  CommonOptions common;
};

Options parse_options(int argc, char** argv) {
  Options o;
  std::optional<std::string> part;
  App app(kText);
  app.operands(o.operands);
  app.group("Where to");
  app.value("--revision", "NAME", o.revision, "branch or refs/pr/N (main); a new branch is made");
  app.value("--type,--repo-type", "TYPE", o.type, "model (default), dataset or space");
  app.flag("--create-pr", o.create_pr, "open a pull request instead of writing to the branch");
  app.flag("--private", o.make_private, "a new repository is private");
  app.flag("--no-private", o.make_public, "a new repository is public");
  app.flag("--no-create", o.no_create, "never make a repository");
  app.value("--endpoint", "URL", o.endpoint, "another hub; file://DIR is a cache folder");
  app.value("--expect-parent", "SHA", o.expect_parent, "only upon this commit");
  app.value("--tag", "NAME", o.tag, "tag the commit");
  app.flag("--link", o.link, "file://: hard links, not copies");
  app.flag("--prune-revisions", o.prune, "file://: remove snapshots that no ref names");
  app.group("What");
  app.list("--include", "GLOB", o.include, "only such paths (repeatable)");
  app.list("--exclude", "GLOB", o.exclude, "no such paths (repeatable)");
  app.list("--delete", "GLOB", o.deletions, "delete such paths there (repeatable)");
  app.flag("--all", o.all, "also what a training run keeps for itself");
  app.flag("--follow-symlinks", o.follow_symlinks, "go into folders behind links");
  app.list("--allow", "RULE", o.allow, "push in spite of this rule (repeatable)");
  app.value("-m,--message,--commit-message", "TEXT", o.message, "title of the commit");
  app.value("--description,--commit-description", "TEXT", o.description, "its description");
  app.group("How");
  app.value("--every", "TIME", o.every, "push the run's newest complete checkpoint again and again");
  app.flag("--verify", o.verify, "compare all hashes there; print a manifest");
  app.value("--limit-rate", "SIZE", o.limit_rate, "send at most this a second");
  app.value("--max-wait", "TIME", o.max_wait, "for a failing hub (120s)");
  app.value("--timeout", "TIME", o.timeout, "give up a transfer that stands still so long (60s)");
  app.value("--max-files-per-commit", "N", o.max_commit_files, "more are several commits (20000)");
  app.value("--part", "I/N|auto", part, "store share I of N; a run without commits");
  app.flag("--insecure-http", o.insecure_http, "a token may go over plain http");
  app.common(o.common, "njpt");
  app.parse(argc, argv);
  if (o.operands.size() < 2 || o.operands.size() > 3)
    throw usage("name LOCAL and REPO").hint("see hub-push --help");
  if (o.make_private && o.make_public) throw usage("--private and --no-private exclude each other");
  if (o.every && (o.create_pr || o.common.dry_run))
    throw usage("--every goes with neither --create-pr nor --dry-run");
  if (part) o.part = parse_part_option(*part);
  if (o.part && (o.every || o.operands[0] == "-")) throw usage("--part goes with neither --every nor -");
  if (o.create_pr && o.revision) throw usage("--create-pr and --revision exclude each other");
  return o;
}

std::size_t parse_count(const std::string& text) {
  std::size_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value == 0)
    throw usage(fmt::format("'{}' is no number of files", escape_name(text)));
  return value;
}

PushOptions push_options(const Options& o) {
  PushOptions push;
  push.repo = parse_repo(o.operands[1], o.type ? std::optional(parse_repo_type(*o.type)) : std::nullopt);
  push.revision = o.revision.value_or("main");
  if (push.revision.empty()) throw usage("--revision needs a name");
  push.prefix = o.operands.size() > 2 ? parse_repo_path(o.operands[2]) : "";
  push.message = {o.message.value_or("Upload with hub-push"), o.description.value_or("")};
  if (trim(push.message.title).empty()) throw usage("the message is empty");
  push.deletions = o.deletions;
  push.allowed = o.allow;
  for (const std::string& id : o.allow) {
    const bool known = std::any_of(guard_rules().begin(), guard_rules().end(),
                                   [&id](const GuardRule& rule) { return rule.id == id; });
    if (!known)
      throw usage(fmt::format("--allow: there is no rule '{}'", escape_name(id)))
          .hint("hub-push(1) lists them");
  }
  if (o.make_private || o.make_public) push.make_private = o.make_private;
  push.create = !o.no_create;
  push.create_pr = o.create_pr;
  push.expected_parent = o.expect_parent.value_or("");
  push.tag = o.tag.value_or("");
  push.dry_run = o.common.dry_run;
  push.verify = o.verify;
  push.link = o.link;
  push.prune = o.prune;
  push.part = o.part;
  if (o.max_commit_files) push.max_commit_files = parse_count(*o.max_commit_files);
  if (o.common.threads > 0) push.jobs = o.common.threads;
  return push;
}

FileChoice choose(const Options& o, const std::string& local, const PushOptions& push,
                  std::optional<InputFile>& spooled) {
  if (local == "-") {
    if (push.prefix.empty()) throw usage("standard input needs a name: give PATH_IN_REPO");
    spooled = spool_stream(0, "standard input");
    const std::string path = fmt::format("/proc/self/fd/{}", spooled->fd()->get());
    return choose_file(path, push.prefix);
  }
  if (!exists(local) && exists(o.operands[1]))
    throw Error(ErrorKind::kUsage, fmt::format("there is no '{}' here", escape_name(local)))
        .hint(
            fmt::format("LOCAL comes first: hub-push {} {}", escape_name(o.operands[1]), escape_name(local)));
  if (!is_folder(local))
    return choose_file(local, push.prefix.empty() ? std::string(base_name(local)) : push.prefix);
  const bool all = o.all || push.repo.type != RepoType::kModel;
  return choose_folder(local, push.prefix, {o.include, o.exclude, all, o.follow_symlinks});
}

void tell_choice(const FileChoice& choice) {
  for (const LeftOutFile& file : choice.left_out)
    print_note(fmt::format("{}: left out: {}", escape_name(file.name), file.reason));
  for (const std::string& pattern : choice.idle_patterns)
    print_warning(fmt::format("no file matches '{}'", escape_name(pattern)));
}

PushListener listener(const Options& o, std::unique_ptr<Progress>& progress) {
  return {
      print_note, print_warning, print_detail,
      [&o, &progress](const std::string& what, std::uint64_t total) -> std::function<void(std::uint64_t)> {
        progress = std::make_unique<Progress>(what, total, o.common.show_progress() && total > 0);
        return [&progress](std::uint64_t bytes) { progress->add(bytes); };
      }};
}

ConnectionOptions connection_options(const Options& o) {
  ConnectionOptions connection;
  connection.user_agent = "hub-push/" MU_VERSION;
  connection.endpoint = o.endpoint;
  connection.insecure_http = o.insecure_http;
  if (o.limit_rate) connection.rate = parse_size(*o.limit_rate);
  if (o.max_wait) connection.max_wait_s = parse_duration(*o.max_wait);
  if (o.timeout) {
    connection.timeout_s = parse_duration(*o.timeout);
    if (connection.timeout_s == 0U) throw usage("--timeout needs a time");
  }
  connection.warn = print_warning;
  if (console().verbose >= 2) connection.trace = [](const std::string& line) { print_detail(line); };
  return connection;
}

void print_result(const Options& o, const PushOptions& push, const PushResult& result) {
  if (o.common.json) return out(push_json(result, push));
  if (push.dry_run) return out(push_plan_text(result));
  if (push.part) return print_note(share_summary(result, *push.part));
  print_note(push_summary(result));
  if (push.verify) {
    out(push_manifest(result));
    print_note(result.url);
  } else {
    out(result.url + "\n");
  }
}

PushResult push_to_hub(const Options& o, const FileChoice& choice, HashCache& cache, PushOptions& push_to,
                       const PushListener& listener) {
  HubConnection connection(connection_options(o));
  HubSession& session = connection.session();
  if (!session.has_token() && !push_to.dry_run)
    throw Error(ErrorKind::kRemote, "there is no token").hint("set HF_TOKEN, or log in with hf auth login");
  HubApi api(session, push_to.repo);
  if (!push_to.repo.has_owner() && session.has_token()) {
    api.set_owner(api.whoami());
    push_to.repo = api.repo();
  }
  const std::string journal_file = journal_path(session.endpoint(), push_to);
  std::optional<Journal> journal;
  adopt_share_hashes(cache, journal_file, choice);
  if (!push_to.dry_run && push_to.part)
    leave_share_hashes(cache, journal_file, share_of(choice, *push_to.part), *push_to.part);
  if (!push_to.dry_run)
    journal.emplace(push_to.part ? share_journal_path(journal_file, *push_to.part) : journal_file);
  PushResult result = push(api, choice, cache, journal ? &*journal : nullptr, push_to, listener);
  if (!push_to.dry_run && !push_to.part) remove_share_hashes(journal_file);
  return result;
}

int push_once(const Options& o, const std::string& local, PushOptions push_to) {
  std::optional<InputFile> spooled;
  const FileChoice choice = choose(o, local, push_to, spooled);
  tell_choice(choice);
  if (choice.files.empty() && push_to.deletions.empty()) throw refused("no file is left to push");
  HashCache cache(join_path(cache_home(), "hashes"));
  std::unique_ptr<Progress> progress;
  const std::optional<std::string> folder = cache_of_endpoint(o.endpoint.value_or(hub_endpoint()));
  if (!folder && (o.link || o.prune)) throw usage("--link and --prune-revisions are for file:// alone");
  if (folder && o.part) throw usage("--part is for hubs: a cache folder is written at once");
  try {
    const PushResult result = folder ? push_to_cache(*folder, choice, cache, push_to, listener(o, progress))
                                     : push_to_hub(o, choice, cache, push_to, listener(o, progress));
    progress.reset();
    print_result(o, push_to, result);
  } catch (const Interrupted&) {
    progress.reset();
    print_note("interrupted; run the same command again to go on where it stopped");
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

// Until a signal ends it. A hub that is down is tried again next time; what it refuses for good ends the
// loop.
int push_every(const Options& o, const PushOptions& push_to) {
  const bool minutes = o.every->find_first_not_of("0123456789") == std::string::npos;
  const std::uint32_t pause = parse_duration(minutes ? *o.every + "m" : *o.every);
  if (pause == 0) throw usage("--every needs a time");
  std::string pushed;
  while (true) {
    try {
      const std::string newest = newest_checkpoint(o.operands[0]);
      if (!newest.empty() && newest != pushed) {
        push_once(o, join_path(o.operands[0], newest), push_to);
        flush_out();
        pushed = newest;
      }
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
    const Options options = parse_options(argc, argv);
    const PushOptions push_to = push_options(options);
    return options.every ? push_every(options, push_to) : push_once(options, options.operands[0], push_to);
  });
}
