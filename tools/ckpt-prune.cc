// SPDX-License-Identifier: Apache-2.0
// ckpt-prune: what is worth keeping. Options become a policy, facts and policy a plan, the plan is printed or
// carried out.
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "ckpt-prune-options.h"
#include "ckpt/follow.h"
#include "ckpt/hints.h"
#include "ckpt/planner.h"
#include "ckpt/report.h"
#include "ckpt/scan.h"
#include "ckpt/trash.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "os/folder.h"

namespace {

using namespace mu;

using Options = PruneOptions;

// Refuses a trash folder that would free nothing, or that is inside what it should take.
void check_trash(const Options& o, const std::vector<RunFolder>& runs, const CheckpointNames& names) {
  if (!o.trash) return;
  for (const RunFolder& run : runs) {
    const TrashPlace place = place_of_trash(*o.trash, run.path);
    if (o.min_free && place.device == run.id.device)
      throw usage("--min-free can't free space by --trash on the same file system");
    if (names.matches(place.first_below_run, true))
      throw usage("--trash is inside the checkpoint " + escape_name(place.first_below_run));
  }
}

// "--max-total 2 TB" means two bytes and a run "TB".
void check_unit(std::string_view option, const std::optional<std::string>& text,
                const std::vector<RunFacts>& runs) {
  if (!text || text->empty() || std::isdigit(static_cast<unsigned char>(text->back())) == 0) return;
  std::optional<std::uint64_t> smallest;
  for (const RunFacts& run : runs) {
    for (const CheckpointFacts& checkpoint : run.checkpoints)
      smallest = std::min(smallest.value_or(checkpoint.disk_bytes()), checkpoint.disk_bytes());
  }
  if (smallest && parse_size(*text) < *smallest)
    throw usage(fmt::format("{} {} means {}, less than the smallest checkpoint here", option, *text,
                            format_size(parse_size(*text))))
        .hint("nothing was changed; add a unit, for example 2TB");
}

// Everything that went wrong, and whether anything went right.
class Verdict {
 public:
  void fail(const Error& error) {
    print_error(error);
    codes_.push_back(exit_code(error.kind()));
  }
  void miss(std::string_view what) {
    print_error(what);
    codes_.push_back(exit_code(ErrorKind::kAnswerNo));
  }
  void pass_by(std::string_view what) {
    print_error(what);
    passed_by_ = true;
  }
  void done(bool changed) {
    done_ = true;
    changed_ = changed_ || changed;
  }
  // 3 if some runs were done and others could not be, or some were changed and others refused.
  [[nodiscard]] int code(bool only_looks) const {
    const int partial = exit_code(ErrorKind::kPartial);
    if (std::find(codes_.begin(), codes_.end(), partial) != codes_.end()) return partial;
    for (const int code : {7, 75, 4, 5, 2}) {
      if (std::find(codes_.begin(), codes_.end(), code) == codes_.end()) continue;
      const bool partly = code == 7 || code == 75 ? done_ : changed_;
      return partly && !only_looks ? exit_code(ErrorKind::kPartial) : code;
    }
    if (passed_by_) return partial;
    return codes_.empty() ? 0 : codes_.front();
  }

 private:
  std::vector<int> codes_;
  bool done_ = false, changed_ = false, passed_by_ = false;
};

std::vector<RunFolder> lock_all(std::vector<RunFolder> runs, Verdict& verdict) {
  std::vector<RunFolder> locked;
  for (RunFolder& run : runs) {
    try {
      lock_run(run);
      locked.push_back(std::move(run));
    } catch (const Error& error) {
      verdict.fail(error);
    }
  }
  return locked;
}

// Reports what can't be read, and what may have been meant if nothing was found.
void name_what_is_passed_by(const Options& o, const std::vector<RunFolder>& folders,
                            const std::vector<RunFolder>& barren, const std::vector<RunFacts>& runs,
                            const CheckpointNames& names, Verdict& verdict) {
  const auto hint = [&](const RunFolder& folder) {
    const std::string text = folder.fd.get() < 0 ? "" : hint_at_others(folder, names, o.recursive);
    if (!text.empty()) {
      print_note(escape_name(folder.path) + ": no checkpoint found, but " + text);
    } else if (err_is_terminal() && !o.list) {  // cron mails what is printed
      print_note(fmt::format("{}: no checkpoint found: nothing {} is named {}", escape_name(folder.path),
                             o.recursive ? "below" : "here",
                             escape_name(o.pattern.value_or("checkpoint-N"))));
    }
  };
  for (const RunFolder& folder : barren) hint(folder);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    if (!runs[r].failure && runs[r].checkpoints.empty()) hint(folders[r]);
    for (const CheckpointFacts& checkpoint : runs[r].checkpoints) {
      if (checkpoint.condition == Condition::kUnreadable)
        verdict.pass_by(fmt::format("{}: can't be read: {}",
                                    escape_name(join_path(runs[r].path, checkpoint.name)),
                                    escape_name(checkpoint.why)));
    }
  }
}

void print_needs(const std::vector<RunFolder>& folders, std::vector<RunFacts>& runs, bool print,
                 Verdict& verdict) {
  for (std::size_t r = 0; r < runs.size(); ++r) {
    struct statvfs info {};
    if (::fstatvfs(folders[r].fd.get(), &info) == 0)
      runs[r].free_bytes = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
    const std::optional<NextCheckpoint> next = predict_next(runs[r]);
    if (!next) continue;
    const std::string line = escape_name(runs[r].path) + ": " + next_text(runs[r]);
    if (!next->fits)
      verdict.miss(line);
    else if (print)
      out(line + "\n");
  }
}

std::vector<Outcome> execute_all(const Options& o, const std::vector<RunFolder>& folders,
                                 const std::vector<RunFacts>& runs, const Plan& plan, Verdict& verdict) {
  Progress progress("deleting", plan.bytes_before - plan.bytes_after, o.common.show_progress());
  std::vector<Outcome> outcomes;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    Outcome& outcome = outcomes.emplace_back();
    if (runs[r].failure) continue;
    outcome = execute_plan(folders[r], runs[r], plan.runs[r],
                           {.trash = o.trash,
                            .threads = o.common.thread_count(),
                            .on_freed = [&progress](std::uint64_t bytes) { progress.add(bytes); }});
    for (const Error& error : outcome.failures) verdict.fail(error);
    if (outcome.failures.empty() || outcome.changes() > 0) verdict.done(outcome.changes() > 0);
    if (const std::string line = outcome_text(outcome); !line.empty())
      print_note(escape_name(runs[r].path) + ": " + line);
  }
  return outcomes;
}

void print_views(const Options& o, std::optional<Verb> verb, const std::vector<RunFacts>& runs,
                 const Plan& plan) {
  if (verb) {
    out(paths_text(runs, plan, *verb, o.common.null));
  } else if (o.common.json) {
    out(plan_json(runs, plan, {}));
  } else if (o.list) {
    for (std::size_t r = 0; r < runs.size(); ++r) {
      if (!runs[r].failure) out(list_text(runs[r], plan.runs[r]));
    }
  } else if (o.common.dry_run) {
    out(plan_text(runs, plan, out_width()));
  }
}

int prune(const Options& o) {
  Policy policy = policy_of(o);
  const std::optional<Verb> verb = verb_of(o.paths);
  const CheckpointNames names = o.pattern ? CheckpointNames(*o.pattern) : CheckpointNames();
  const bool only_looks = o.only_looks() || policy.is_empty();
  FoundRuns found = find_runs(o.runs, o.recursive, names, o.trash);
  Verdict verdict;
  for (const std::vector<Error>& errors : {found.missing, found.failures}) {
    for (const Error& error : errors) verdict.fail(error);
  }
  if (!found.missing.empty()) return exit_code(ErrorKind::kIo);
  if (o.follow) policy.follow = follow_run(*o.follow, names, o.common.thread_count());
  check_trash(o, found.runs, names);
  const std::vector<RunFolder> folders =
      only_looks ? std::move(found.runs) : lock_all(std::move(found.runs), verdict);
  std::vector<RunFacts> runs =
      scan_runs(folders, names,
                {.deep = o.deep,
                 .staging = o.torn.has_value(),
                 .may_write = !only_looks,
                 .metric = o.metric,
                 .lower_is_better = o.lower || o.higher ? std::optional(o.lower) : std::nullopt,
                 .threads = o.common.thread_count()});
  check_unit("--max-total", o.max_total, runs);
  check_unit("--min-free", o.min_free, runs);
  const Plan plan = make_plan(runs, policy);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    for (const std::string& line : warning_lines(runs[r], plan.runs[r], o.list)) print_warning(line);
    if (runs[r].failure) verdict.fail(*runs[r].failure);
    if (plan.runs[r].failure) verdict.fail(*plan.runs[r].failure);
  }
  name_what_is_passed_by(o, folders, found.barren, runs, names, verdict);
  std::vector<Outcome> outcomes;
  if (only_looks) {
    print_views(o, verb, runs, plan);
  } else {
    outcomes = execute_all(o, folders, runs, plan, verdict);
    if (o.common.json) out(plan_json(runs, plan, outcomes));
    const std::string lines = plan_text(runs, plan, 0);
    for (const std::string_view line : split(trim(lines), '\n')) {
      if (!line.empty()) print_detail(line);
    }
  }
  if (plan.over_total > 0)
    verdict.miss(
        fmt::format("still {} above --max-total: the rest is protected", format_size(plan.over_total)));
  if (plan.short_of_free > 0)
    verdict.miss(
        fmt::format("still {} short of --min-free: the rest is protected", format_size(plan.short_of_free)));
  if (o.need) print_needs(folders, runs, policy.is_empty() && !o.list && !o.common.json && !verb, verdict);
  return verdict.code(only_looks);
}

}  // namespace

int main(int argc, char** argv) {
  return mu::run("ckpt-prune", [&] { return prune(parse_prune_options(argc, argv)); });
}
