// SPDX-License-Identifier: Apache-2.0
// ckpt-prune: what is worth keeping. Options become a policy, facts and policy a plan, the plan is printed or
// carried out.
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <charconv>

#include "base/duration.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "ckpt/report.h"
#include "ckpt/scan.h"
#include "ckpt/trash.h"
#include "cli/app.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "os/folder.h"

namespace {

using namespace mu;

constexpr ProgramText kText = {"ckpt-prune",
                               "Keep the checkpoints that are worth keeping, remove the others.",
                               "[RUN_DIR...]", "ckpt-prune --keep 3 --keep-best 1 runs/*"};

struct Options {
  std::vector<std::string> runs, keep_steps, pins;
  std::optional<std::string> keep, keep_best, metric, keep_every, keep_within, keep_optimizer, max_total,
      min_free;
  std::optional<std::string> torn, torn_age, trash, pattern, paths;
  bool lower = false, higher = false, epochs = false, recursive = false, deep = false, unresumable = false;
  bool list = false, need = false;
  CommonOptions common;

  [[nodiscard]] bool only_looks() const { return common.dry_run || list || paths.has_value(); }
};

Options parse_options(int argc, char** argv) {
  Options o;
  App app(kText);
  app.operands(o.runs);
  app.group("Keep (united; default: everything)");
  app.value("--keep,--keep-last", "N", o.keep, "the last N");
  app.value("--keep-best", "K", o.keep_best, "the best K by a metric");
  app.value("--metric", "NAME", o.metric, "that metric (default: as the run was told)");
  app.flag("--min", o.lower, "low values are good");
  app.flag("--max", o.higher, "high values are good");
  app.value("--keep-every", "STEPS", o.keep_every, "steps that are a multiple");
  app.flag("--keep-epochs", o.epochs, "the last of each epoch");
  app.value("--keep-within", "TIME", o.keep_within, "saved within 3d, 12h … of the newest");
  app.list("--keep-step", "N", o.keep_steps, "this step (repeatable)");
  app.list("--pin", "STEP|FILE", o.pins, "never touch it, or those a file lists (repeatable)");
  app.group("Then");
  app.value("--keep-optimizer-last", "N", o.keep_optimizer, "slim all but the last N to inference");
  app.value("--max-total", "SIZE", o.max_total, "remove the oldest until all fit");
  app.value("--min-free", "SIZE", o.min_free, "remove the oldest until that is free");
  app.value("--torn", "WHAT", o.torn, "keep (default), remove or aside: incomplete ones");
  app.value("--torn-age", "TIME", o.torn_age, "leave the newest torn one so long (1h)");
  app.value("--trash", "DIR", o.trash, "move there instead of deleting");
  app.flag("--allow-unresumable", o.unresumable, "go on where none can be resumed from");
  app.group("Where");
  app.flag("--recursive", o.recursive, "all runs below RUN_DIR (default: .)");
  app.value("--pattern", "GLOB", o.pattern, "names of files or folders, not checkpoint-N");
  app.flag("--deep", o.deep, "read everything to find torn ones");
  app.config("--config", "FILE", "take options from there, key = value");
  app.group("Look");
  app.flag("--list", o.list, "a table of the checkpoints");
  app.value("--paths", "VERB", o.paths, "paths of those to keep, slim, remove or aside");
  app.flag("--need", o.need, "exit 1 when the next one would not fit");
  app.common(o.common, "nj0pt");
  app.parse(argc, argv);
  if (o.runs.empty()) o.runs.emplace_back(".");
  return o;
}

std::uint64_t count_of(std::string_view option, const std::string& text, std::uint64_t least) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < least)
    throw usage(fmt::format("{} takes a number from {} up, not '{}'", option, least, escape_name(text)));
  return value;
}

Policy policy_of(const Options& o) {
  Policy policy;
  if (o.keep) policy.keep_last = count_of("--keep", *o.keep, 0);
  if (o.keep_best) policy.keep_best = count_of("--keep-best", *o.keep_best, 0);
  if (o.keep_every) policy.keep_every = count_of("--keep-every", *o.keep_every, 1);
  if (o.keep_optimizer) policy.keep_optimizer_last = count_of("--keep-optimizer-last", *o.keep_optimizer, 0);
  if (o.keep_within) policy.keep_within_seconds = parse_duration(*o.keep_within);
  if (o.torn_age) policy.torn_age_seconds = parse_duration(*o.torn_age);
  if (o.max_total) policy.max_total = parse_size(*o.max_total);
  if (o.min_free) policy.min_free = parse_size(*o.min_free);
  for (const std::string& step : o.keep_steps) policy.keep_steps.push_back(count_of("--keep-step", step, 0));
  for (const std::string& pin : o.pins) {
    for (Pin& one : parse_pin(pin)) policy.pins.push_back(std::move(one));
  }
  if (o.torn && *o.torn != "keep" && *o.torn != "remove" && *o.torn != "aside")
    throw usage("--torn takes keep, remove or aside, not '" + escape_name(*o.torn) + "'");
  if (o.torn == "remove") policy.torn = TornAction::kRemove;
  if (o.torn == "aside") policy.torn = TornAction::kAside;
  policy.keep_epochs = o.epochs;
  policy.allow_unresumable = o.unresumable;
  if (o.lower && o.higher) throw usage("--min and --max at once");
  if (policy.is_empty() && !o.list && !o.need)
    throw usage("says nothing about what to keep").hint("such as --keep 3; see ckpt-prune --help");
  return policy;
}

std::optional<Verb> verb_of(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  for (const Verb verb : {Verb::kKeep, Verb::kSlim, Verb::kRemove, Verb::kAside}) {
    if (*text == verb_name(verb)) return verb;
  }
  throw usage("--paths takes keep, slim, remove or aside, not '" + escape_name(*text) + "'");
}

// Trash that would free nothing, or lie in what it is to take.
void check_trash(const Options& o, const std::vector<RunFolder>& runs, const CheckpointNames& names) {
  if (!o.trash) return;
  for (const RunFolder& run : runs) {
    const TrashPlace place = place_of_trash(*o.trash, run.path);
    if (o.min_free && place.device == run.id.device)
      throw usage("--min-free with --trash on the same file system frees nothing");
    if (names.matches(place.first_below_run, true))
      throw usage("--trash lies in the checkpoint " + escape_name(place.first_below_run));
  }
}

// Everything that went wrong, and whether anything went right.
class Verdict {
 public:
  void fail(const Error& error) {
    print_error(error.what());
    codes_.push_back(exit_code(error.kind()));
  }
  void miss(std::string_view what) {
    print_error(what);
    codes_.push_back(exit_code(ErrorKind::kAnswerNo));
  }
  void done(bool changed) {
    done_ = true;
    changed_ = changed_ || changed;
  }
  // 3 where some runs were done and others could not be, or some were changed and others refused.
  [[nodiscard]] int code(bool only_looks) const {
    for (const int code : {7, 75, 4, 5, 2}) {
      if (std::find(codes_.begin(), codes_.end(), code) == codes_.end()) continue;
      const bool partly = code == 7 || code == 75 ? done_ : changed_;
      return partly && !only_looks ? exit_code(ErrorKind::kPartial) : code;
    }
    return codes_.empty() ? 0 : codes_.front();
  }

 private:
  std::vector<int> codes_;
  bool done_ = false, changed_ = false;
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
    out(plan_text(runs, plan));
  }
}

int prune(const Options& o) {
  const Policy policy = policy_of(o);
  const std::optional<Verb> verb = verb_of(o.paths);
  const CheckpointNames names = o.pattern ? CheckpointNames(*o.pattern) : CheckpointNames();
  const bool only_looks = o.only_looks() || policy.is_empty();
  FoundRuns found = find_runs(o.runs, o.recursive, names);
  Verdict verdict;
  for (const Error& error : found.failures) verdict.fail(error);
  check_trash(o, found.runs, names);
  const std::vector<RunFolder> folders =
      only_looks ? std::move(found.runs) : lock_all(std::move(found.runs), verdict);
  std::vector<RunFacts> runs =
      scan_runs(folders, names,
                {.deep = o.deep,
                 .may_write = !only_looks,
                 .metric = o.metric,
                 .lower_is_better = o.lower || o.higher ? std::optional(o.lower) : std::nullopt,
                 .threads = o.common.thread_count()});
  const Plan plan = make_plan(runs, policy);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    for (const std::string& line : warning_lines(runs[r], plan.runs[r], o.list)) print_warning(line);
    if (runs[r].failure) verdict.fail(*runs[r].failure);
    if (plan.runs[r].failure) verdict.fail(*plan.runs[r].failure);
  }
  std::vector<Outcome> outcomes;
  if (only_looks) {
    print_views(o, verb, runs, plan);
  } else {
    outcomes = execute_all(o, folders, runs, plan, verdict);
    if (o.common.json) out(plan_json(runs, plan, outcomes));
    const std::string lines = plan_text(runs, plan);
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
  return mu::run("ckpt-prune", [&] { return prune(parse_options(argc, argv)); });
}
