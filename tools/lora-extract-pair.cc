// SPDX-License-Identifier: Apache-2.0
// lora-extract --base BASE --tuned TUNED: the adapter between two models.
//
// Both are opened and a plan is made of their lists of tensors (open_pair). What other parts found is taken over. The
// rest is found, from files here (find_rest) or, with a partial output that another run can go on with, from other
// machines (find_far). At the end a part is stored, or the adapter is assembled and packed (write_adapter).
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "fetch/partial_run.h"
#include "lora-extract-options.h"
#include "lora/low_rank.h"
#include "lora/pair_far.h"
#include "lora/pair_fetch.h"
#include "lora/report.h"
#include "model/hf_cache.h"
#include "model/quant_summary.h"
#include "os/folder.h"
#include "os/stage.h"
#include "pack/report.h"
#include "pack/write.h"
#include "remote.h"
#include "weights/open/open.h"

namespace mu {

namespace {

// `plain`: gets what decides the values of quantised weights that were made plain; null: they stay as they are.
Input open_prepared(const std::string& path, std::string* plain) {
  if (path == "-") throw usage("--base and --tuned can't be standard input");
  Input input = open_operand(path, StreamData::kCount, {.beside = true});
  const bool make_plain = plain != nullptr && sum_up_quantised(input).has_value();
  const Prepared prepared = prepare_model(input, {.make_plain = make_plain});
  for (const std::string& note : prepared.notes) print_note(fmt::format("{}: {}", escape_name(path), note));
  if (prepared.plain) {
    print_note(fmt::format("{} {}", escape_name(path), prepared.plain->line));
    *plain = prepared.plain->recipe;
  }
  require_model(input, "merge it first: st-pack BASE --adapter DIR");
  return input;
}

}  // namespace

Input open_model(const std::string& path) {
  return open_prepared(path, nullptr);
}

namespace {

// The id that a cache of the Hugging Face libraries keeps a model under; a path is never written.
std::string id_of(const std::string& path) {
  const std::optional<CachedModel> cached = cached_model_at(path);
  return cached ? cached->id : "";
}

void print_lost(const PairResult& result) {
  if (result.lost.empty()) return;
  constexpr std::size_t kShown = 5;
  std::string names;
  for (std::size_t i = 0; i < std::min(kShown, result.lost.size()); ++i)
    names += (i > 0 ? ", " : "") + escape_name(result.lost[i]);
  print_warning(
      fmt::format("{} changed but {} not in the adapter: {}{}; --embeddings, --bias and --full-modules "
                  "include them",
                  plural(result.lost.size(), "tensor"), result.lost.size() == 1 ? "is" : "are", names,
                  result.lost.size() > kShown ? ", …" : ""));
}

// Floating-point operations a second of one thread, from a product like those to come.
double measured_rate(const std::string& kernel) {
  constexpr std::size_t kSize = 1024, kWidth = 32;
  const Products products(kernel);
  const std::vector<float> a(kSize * kSize, 1.0F), x(kSize * kWidth, 1.0F);
  std::vector<float> y(kSize * kWidth);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 4; ++i) products.multiply(a, kSize, kSize, x, kWidth, y, 1);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return 4.0 * 2 * kSize * kSize * kWidth / std::max(seconds, 1e-9);
}

// The dry run: what would be extracted, before anything large is read.
std::string dry_text(const LoraExtractOptions& o, const PairPlan& plan, const std::vector<std::size_t>& units,
                     const PairRunOptions& options) {
  std::string text;
  std::uint64_t matrices = 0, bytes = 0;
  double work = 0;
  for (const std::size_t unit : units) {
    const PairTensor& pair = plan.tensors[unit];
    if (pair.kind == PairKind::kOther) continue;
    const bool matrix = is_matrix(pair);
    matrices += matrix ? 1 : 0;
    if (matrix)
      work += work_of(static_cast<std::size_t>(pair.rows), static_cast<std::size_t>(pair.columns),
                      o.rank.by == RankChoice::By::kNumber ? o.rank.rank : o.rank.most / 2);
    bytes += size_of(pair, pair.base) + size_of(pair, pair.tuned);
    text += fmt::format("{}\t{}\n", matrix ? "factors" : "whole", escape_name(pair.module));
  }
  const double seconds = work / measured_rate(options.kernel) / options.threads;
  return text + fmt::format("{} to compare, {} to read, about {} of work\n", plural(matrices, "matrix pair"),
                            format_size(bytes), seconds < 1 ? "a second" : fmt::format("{:.0f} s", seconds));
}

// Of the tuned model.
std::uint64_t bytes_to_extract(const PairPlan& plan, const std::vector<std::size_t>& units) {
  std::uint64_t bytes = 0;
  for (const std::size_t unit : units) bytes += size_of(plan.tensors[unit], plan.tensors[unit].tuned);
  return bytes;
}

// What there is to do.
struct Pair {
  Input base, tuned;
  PairPlan plan;
  PairRunOptions options;
  std::vector<std::size_t> units;
};

std::vector<FoundTensor> work(const LoraExtractOptions& o, const Pair& pair,
                              const std::vector<std::size_t>& units) {
  Progress progress("extracting", bytes_to_extract(pair.plan, units), o.common.show_progress());
  PairRunOptions options = pair.options;
  options.on_bytes = [&progress](std::uint64_t done) { progress.add(done); };
  return factorise(pair.base, pair.tuned, pair.plan, units, options);
}

// Adds what the units are to what was found.
void find_rest(const LoraExtractOptions& o, const Pair& pair, std::vector<FoundTensor>& found) {
  std::vector<std::size_t> units = pair.units;
  const auto add = [&](const std::vector<std::size_t>& some) {
    std::vector<FoundTensor> more = work(o, pair, some);
    for (const std::size_t unit : some) found[unit] = std::move(more[unit]);
  };
  if (!o.server) return add(units);
  // What the server does not apply shows without a factorisation.
  const auto matrices = std::stable_partition(
      units.begin(), units.end(), [&](std::size_t unit) { return !is_matrix(pair.plan.tensors[unit]); });
  add({units.begin(), matrices});
  require_servable(pair.plan, found, *o.server);
  add({matrices, units.end()});
}

// The same where some of it is read from other machines, and another run goes on if this one is stopped.
void find_far(const LoraExtractOptions& o, const Pair& pair, const PairFetch& fetch, PartialOutput& partial,
              std::vector<FoundTensor>& found) {
  Progress progress("extracting", bytes_to_extract(pair.plan, pair.units), o.common.show_progress());
  PairRunOptions options = pair.options;
  options.on_bytes = [&progress](std::uint64_t done) { progress.add(done); };
  std::atomic<std::uint64_t> read{0};
  PairFetchRun run;
  run.connections = o.remote.connections;
  run.on_read = [&](std::uint64_t bytes) {
    read += bytes;
    progress.add_read(bytes);
  };
  if (o.server) run.on_found = [&] { require_servable(pair.plan, found, *o.server); };
  factorise_far(pair.base, pair.tuned, pair.plan, fetch, options, run, partial, found);
  const std::uint64_t before = fetch.bytes - std::min<std::uint64_t>(fetch.bytes, read);
  print_note(fmt::format(
      "read {} over the network{}", format_size(read),
      before == 0 ? "" : fmt::format(" ({} were there from an earlier run)", format_size(before))));
}

// What decides the adapter beside its factors: a run with other options does not go on with what this one leaves.
std::string form_of(const LoraExtractOptions& o) {
  return fmt::format(" {} {} {}", o.server ? server_name(*o.server) : "", o.base_id, o.weights_only);
}

// Finds what the units are, then calls `finish`, which puts it where it belongs.
void find_and(const LoraExtractOptions& o, const Pair& pair, const std::string& target,
              std::vector<FoundTensor> found, const std::function<void(std::vector<FoundTensor>)>& finish) {
  const PairFetch fetch = plan_pair_fetch(pair.base, pair.tuned, pair.plan, pair.units);
  if (fetch.sequence.empty()) {
    find_rest(o, pair, found);
    return finish(std::move(found));
  }
  const std::string plan =
      pair_fingerprint(pair.plan, pair.options, pair.base, pair.tuned, o.known_by) + form_of(o);
  const std::string identity = pair_fetch_identity(fetch, plan);
  with_partial_output(real_target(target), identity, o.force || !has_versions(fetch.sequence),
                      [&](PartialOutput& partial) {
                        find_far(o, pair, fetch, partial, found);
                        partial.require_held();
                        finish(std::move(found));
                      });
}

int extract_part(const LoraExtractOptions& o, const PartsFolder& parts, const Pair& pair) {
  const std::vector<Part> there = parts.find(o.force);
  const bool done = std::find(there.begin(), there.end(), *o.part) != there.end();
  if (!done) {
    parts.make();
    find_and(o, pair, parts.path_of(*o.part), std::vector<FoundTensor>(pair.plan.tensors.size()),
             [&](const std::vector<FoundTensor>& found) { write_pair_part(parts, *o.part, found); });
  }
  print_note(fmt::format("{}: part {} of {}, {}{}", escape_name(o.output), o.part->index, o.part->count,
                         plural(pair.units.size(), "tensor"), done ? ", already done" : ""));
  return 0;
}

// A base without a config has the ties of the tuned model.
PairOptions with_ties(PairOptions options, const Input& base, const Input& tuned) {
  options.base_ties = find_tied(base.config ? base.config : tuned.config, base.weights).tied;
  options.tuned_ties = find_tied(tuned.config, tuned.weights).tied;
  return options;
}

// True, having said why, if there is nothing to write.
bool holds_nothing(const PairResult& result) {
  if (result.modules.empty() && result.whole.empty()) {
    print_lost(result);
    print_note(result.lost.empty() ? "no difference" : "no difference that an adapter can hold");
    return true;
  }
  if (result.noise == result.modules.size() && result.whole.empty()) {
    print_lost(result);
    print_note(fmt::format(
        "nothing is above the noise: {} by no more than rounding; --rank N extracts {} all the same",
        result.noise == 1 ? "1 module differs" : fmt::format("{} modules differ", result.noise),
        result.noise == 1 ? "it" : "them"));
    return true;
  }
  return false;
}

// The exit code, having said how many modules miss the tolerance.
int judge(const PairResult& result, double tolerance) {
  const auto misses = std::count_if(result.modules.begin(), result.modules.end(),
                                    [&](const ModuleReport& module) { return module.error > tolerance; });
  if (misses > 0)
    print_warning(fmt::format("{} above the tolerance of {:g}",
                              plural(static_cast<std::uint64_t>(misses), "module"), tolerance));
  return misses > 0 ? 1 : 0;
}

// Throws for a kernel that this machine can't run, so that a dry run refuses it, too.
std::string kernel_of(const LoraExtractOptions& o, bool shared) {
  const std::string_view wanted = shared && o.kernel == "auto" ? Products::shared_name() : o.kernel;
  return std::string(Products(wanted).name());
}

// Writes the adapter, removes the parts that it was made of, and returns the exit code.
int write_adapter(const LoraExtractOptions& o, const PartsFolder* parts, Pair& pair,
                  std::vector<FoundTensor> found) {
  PairResult result = assemble_pair(std::move(pair.tuned), pair.plan, std::move(found), pair.options);
  if (holds_nothing(result)) {
    if (o.common.json) out(pair_json(result, *o.base, *o.tuned, o.output, false, {}));
    return 1;
  }
  const std::string config_text =
      o.server ? serve_pair(result, *o.server, pair.base) : lora_config_text(result.config);
  const PackPlan packed = plan_pack(result.input, {}, lora_pack_options(o, config_text), OutputKind::kFolder);
  write_pack(packed, result.input, o.output,
             {.force = o.force, .verify = o.verify, .threads = o.common.thread_count(), .progress = false});
  if (parts != nullptr) parts->remove();
  if (o.common.json)
    out(pair_json(result, *o.base, *o.tuned, o.output, true, written_files(packed)));
  else
    out(pair_text(result, console().verbose > 0));
  for (const std::string& note : pair_notes(result)) print_note(note);
  print_lost(result);
  print_note(fmt::format("{}: {} of rank {}, kernel {}", escape_name(o.output),
                         plural(result.modules.size(), "module"), result.config.rank, result.kernel));
  return o.tolerance ? judge(result, *o.tolerance) : 0;
}

Pair open_pair(const LoraExtractOptions& o, bool shared) {
  std::string plain_base, plain_tuned;
  Pair pair;
  pair.base = open_prepared(*o.base, &plain_base);
  pair.tuned = open_prepared(*o.tuned, &plain_tuned);
  pair.plan = plan_pair(pair.base, pair.tuned, with_ties(o.pair, pair.base, pair.tuned));
  pair.options = {.rank = o.rank,
                  .alpha = o.alpha,
                  .dtype = o.dtype,
                  .exact = o.exact,
                  .kernel = kernel_of(o, shared),
                  .base_id = o.base_id.empty() ? id_of(*o.base) : o.base_id,
                  .plain = {plain_base, plain_tuned},
                  .threads = o.common.thread_count(),
                  .on_bytes = {}};
  if (o.part) {
    pair.units = pair_units(pair.plan, *o.part);
  } else {
    pair.units.resize(pair.plan.tensors.size());
    std::iota(pair.units.begin(), pair.units.end(), 0U);
  }
  return pair;
}

// What finished parts found; these tensors are taken out of the units.
std::vector<FoundTensor> take_from_parts(const LoraExtractOptions& o, const PartsFolder& parts, Pair& pair) {
  std::vector<FoundTensor> found = read_pair_parts(parts, pair.plan, o.force);
  const std::size_t all = pair.units.size();
  std::erase_if(pair.units, [&](std::size_t unit) { return found[unit].done; });
  if (pair.units.size() < all)
    print_note(fmt::format("{} of {} taken from parts", all - pair.units.size(), plural(all, "tensor")));
  return found;
}

}  // namespace

int extract_pair_mode(const LoraExtractOptions& o) {
  const bool shared = o.part || exists(PartsFolder(o.output, "").path());
  // What may be in use by another run is found before anything is read.
  if ((is_far_name(*o.base) || is_far_name(*o.tuned)) && !o.part && !o.common.dry_run)
    PartialOutput::require_free(real_target(o.output));
  Pair pair = open_pair(o, shared);
  if (o.common.dry_run) {
    const PairFetch fetch = plan_pair_fetch(pair.base, pair.tuned, pair.plan, pair.units);
    out(o.common.json ? pair_plan_json(pair.plan, pair.units, *o.base, *o.tuned, o.output, fetch)
                      : dry_text(o, pair.plan, pair.units, pair.options) + to_read_text(fetch));
    return 0;
  }
  if (!o.force) require_free_folder(o.output, false);
  require_apart(o.output, {*o.base, *o.tuned});
  const PartsFolder parts(
      o.output, shared ? pair_fingerprint(pair.plan, pair.options, pair.base, pair.tuned, o.known_by) : "");
  if (o.part) return extract_part(o, parts, pair);
  std::vector<FoundTensor> found =
      shared ? take_from_parts(o, parts, pair) : std::vector<FoundTensor>(pair.plan.tensors.size());
  int code = 0;
  find_and(o, pair, o.output, std::move(found), [&](std::vector<FoundTensor> all) {
    code = write_adapter(o, shared ? &parts : nullptr, pair, std::move(all));
  });
  return code;
}

}  // namespace mu
