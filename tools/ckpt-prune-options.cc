// SPDX-License-Identifier: Apache-2.0
#include "ckpt-prune-options.h"

#include <fmt/format.h>

#include <charconv>

#include "base/duration.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr ProgramText kText = {"ckpt-prune",
                               "Keep the checkpoints that are worth keeping, remove the others.",
                               "[RUN_DIR...]", "ckpt-prune --keep 3 --keep-best 1 runs/*"};

std::uint64_t count_of(std::string_view option, const std::string& text, std::uint64_t least) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < least)
    throw usage(fmt::format("{} takes a number of {} or more, not '{}'", option, least, escape_name(text)));
  return value;
}

}  // namespace

PruneOptions parse_prune_options(int argc, char** argv) {
  PruneOptions o;
  App app(kText);
  app.operands(o.runs);
  app.group("Keep what any of these names (default: everything)");
  app.value("--keep,--keep-last", "N", o.keep, "the last N");
  app.value("--keep-best", "K", o.keep_best, "the best K by a metric");
  app.value("--metric", "NAME", o.metric, "metric for --keep-best (default: the run's own)");
  app.flag("--min", o.lower, "lower values are better");
  app.flag("--max", o.higher, "higher values are better");
  app.value("--keep-every", "STEPS", o.keep_every, "every step that is a multiple of STEPS");
  app.flag("--keep-epochs", o.epochs, "the last of each epoch");
  app.value("--keep-within", "TIME", o.keep_within, "those saved within TIME (12h, 3d) of the newest");
  app.list("--keep-step", "N", o.keep_steps, "this step (repeatable)");
  app.value("--follow", "RUN_DIR", o.follow, "the steps that RUN_DIR holds");
  app.list("--pin", "STEP|FILE", o.pins, "never touch this step, or those FILE lists (repeatable)");
  app.group("Then");
  app.value("--keep-optimizer-last", "N", o.keep_optimizer,
            "slim all but the last N to what inference needs");
  app.value("--max-total", "SIZE", o.max_total, "remove the oldest until the rest fits in SIZE");
  app.value("--min-free", "SIZE", o.min_free, "remove the oldest until SIZE is free");
  app.value("--torn", "WHAT", o.torn, "incomplete ones: keep (default), remove or aside",
            {"keep", "remove", "aside"});
  app.value("--torn-age", "TIME", o.torn_age, "leave the newest torn one alone for TIME (1h)");
  app.value("--trash", "DIR", o.trash, "move them to DIR instead of deleting");
  app.flag("--allow-unresumable", o.unresumable, "prune even if none can be resumed from");
  app.group("Where");
  app.flag("--recursive", o.recursive, "all runs at or below RUN_DIR (default: .)");
  app.value("--pattern", "GLOB", o.pattern, "names of checkpoints (default: checkpoint-N)");
  app.flag("--deep", o.deep, "read every byte to find torn ones");
  app.config("--config", "FILE", "read options from FILE, as key = value");
  app.group("Look");
  app.flag("--list", o.list, "print a table of the checkpoints");
  app.value("--paths", "VERB", o.paths, "paths of those to keep, slim, remove or aside",
            {"keep", "slim", "remove", "aside"});
  app.flag("--need", o.need, "exit 1 when the next one would not fit");
  app.common(o.common, "nj0pt");
  app.parse(argc, argv);
  if (o.runs.empty()) o.runs.emplace_back(".");
  return o;
}

Policy policy_of(const PruneOptions& o) {
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
  if (o.torn == "remove") policy.torn = TornAction::kRemove;
  if (o.torn == "aside") policy.torn = TornAction::kAside;
  if (o.follow) policy.follow = Followed{*o.follow, {}, {}};
  if (o.common.null && !o.paths) throw usage("-0 needs --paths");
  policy.keep_epochs = o.epochs;
  policy.allow_unresumable = o.unresumable;
  if (o.lower && o.higher) throw usage("--min and --max exclude each other");
  if (policy.is_empty() && !o.list && !o.need)
    throw usage("no retention rule given").hint("for example --keep 3; see ckpt-prune --help");
  return policy;
}

std::optional<Verb> verb_of(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  for (const Verb verb : {Verb::kKeep, Verb::kSlim, Verb::kRemove, Verb::kAside}) {
    if (*text == verb_name(verb)) return verb;
  }
  return std::nullopt;
}

}  // namespace mu
