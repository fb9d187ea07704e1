// SPDX-License-Identifier: Apache-2.0
// hub-push: publish a folder or a file. Options become a push; its plan is printed or carried out.
#include <fmt/format.h>

#include <memory>

#include "base/duration.h"
#include "base/error.h"
#include "base/text.h"
#include "ckpt/scan.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "hub-push-options.h"
#include "hub-push-run.h"
#include "hub/cache_push.h"
#include "hub/guard.h"
#include "hub/push.h"
#include "hub/report.h"
#include "model/links.h"
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

void report_choice(const FileChoice& choice) {
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

// A folder for our own files; empty if it is inside the folder that is pushed, or can't be read.
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

PushResult push_files(const HubPushOptions& o, const FileChoice& choice, HashCache& cache,
                      const PushOptions& push_to, const PushListener& listener) {
  if (const std::optional<CacheTarget> target = cache_target(o))
    return push_to_cache(*target, choice, cache, push_to, listener);
  HubConnection connection(connection_options(o));
  return push_to_hub(connection.session(), choice, cache, push_to, listener);
}

int push_once(const HubPushOptions& o, const std::string& local, PushOptions push_to) {
  std::optional<InputFile> spooled;
  const FileChoice choice = choose(o, local, push_to, spooled);
  if (!o.all && o.include.empty() && push_to.repo.type == RepoType::kModel) refuse_run_folder(local, choice);
  report_choice(choice);
  if (choice.files.empty() && push_to.deletions.empty()) throw refused("no file is left to push");
  const std::string own_cache = kept_out(local, cache_home());
  push_to.state = kept_out(local, state_home());
  HashCache cache(own_cache.empty() ? "" : join_path(own_cache, "hashes"));
  std::unique_ptr<Progress> progress;
  try {
    const PushResult result = push_files(o, choice, cache, push_to, listener(o, progress));
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

// Runs until a signal ends it. A hub that is down is tried again next time, a checkpoint whose files are
// refused is passed over; what the hub refuses for good ends the loop.
int push_every(const HubPushOptions& o, const PushOptions& push_to) {
  const bool minutes = is_digits(*o.every);
  const std::uint32_t pause = parse_duration(minutes ? *o.every + "m" : *o.every);
  if (pause == 0) throw usage("--every must be more than 0");
  std::string newest, pushed;
  bool waiting = false;  // and said so
  while (true) {
    try {
      newest = newest_checkpoint(o.operands[0]);
      if (newest.empty() && !waiting && err_is_terminal())
        print_note(fmt::format("{}: no complete checkpoint yet; looking again every {}",
                               escape_name(o.operands[0]), minutes ? *o.every + "m" : *o.every));
      waiting = newest.empty();
      if (!newest.empty() && newest != pushed) {
        push_once(o, join_path(o.operands[0], newest), push_to);
        flush_out();
        pushed = newest;
      }
    } catch (const FilesRefused& refusal) {
      print_error(fmt::format("{}: {}", escape_name(newest), refusal.what()));
      pushed = newest;  // reported once; the next one may pass
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
