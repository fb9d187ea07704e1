// SPDX-License-Identifier: Apache-2.0
// st-pack: write safetensors. Options become a plan, the plan is printed or carried out.
//
// The steps are those of pack(): open the inputs, merge adapters into the list of tensors, plan, then print the
// plan (-n), write one part of it, or write all of it, with the parts that are finished.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/run.h"
#include "fetch/partial.h"
#include "model/placeholders.h"
#include "os/far.h"
#include "os/folder.h"
#include "os/stage.h"
#include "pack/far_plan.h"
#include "pack/output_kind.h"
#include "pack/part.h"
#include "pack/quant_report.h"
#include "pack/report.h"
#include "remote.h"
#include "st-pack-adapter.h"
#include "st-pack-options.h"
#include "weights/open/open.h"

namespace {

using namespace mu;

using Options = StPackOptions;

void print_losses(const WriteResult& result) {
  constexpr std::size_t kShown = 10;
  for (std::size_t i = 0; i < result.losses.size() && i < kShown; ++i) {
    print_warning(loss_text(result.losses[i].first, result.losses[i].second));
  }
  if (result.losses.size() > kShown)
    print_warning(fmt::format("… and {} more tensors", result.losses.size() - kShown));
}

// Some options act on the model in the folder itself; where only folders below it hold models, they would do
// nothing.
void require_top_model(const Options& o, const Input& input, OutputKind kind) {
  if (input.has_weights) return;
  const std::pair<std::string_view, bool> given[] = {{"--select", !o.select.empty()},
                                                     {"--exclude", !o.exclude.empty()},
                                                     {"--rename", !o.rename.empty()},
                                                     {"--names-from", o.names_from.has_value()},
                                                     {"--experts", o.names.experts.has_value()},
                                                     {"--adapter", !o.adapters.empty()},
                                                     {"--quantize", o.quantize.has_value()}};
  for (const auto& [option, is_given] : given) {
    if (is_given)
      throw usage(
          fmt::format("{} acts on a model in the folder itself, but here folders below it hold models",
                      option))
          .in_file(escape_name(input.name))
          .hint("pack the folder of one of them");
  }
  if (kind != OutputKind::kFolder)
    throw usage("a model of several folders needs a folder as output").in_file(escape_name(input.name));
}

// Everything but the writing. The input's list of tensors becomes what is packed.
PackPlan make_plan(const Options& o, const PackOptions& options, const std::vector<AdapterUse>& adapters,
                   Input& input, OutputKind kind, const TieReading& ties) {
  PrepareOptions how = {.salvage = o.salvage,
                        .copies = options.selection.dtype,
                        .strict_copies = !o.from,
                        .threads = o.common.thread_count(),
                        .find_ties = true,
                        .ties = ties,
                        .selects = true,
                        .make_plain = o.dequantize || !adapters.empty(),
                        .plain_dtype = o.plain_dtype,
                        .change = {},
                        .warn = [](const std::string& text) { print_warning(text); }};
  if (!adapters.empty())
    how.change = [&](Input& base, const std::vector<TiedName>& tied) {
      require_no_placeholders(Placeholders(base.weights.tensors), base.name);
      return merge_into(base, adapters, tied, options.selection.dtype.has_value());
    };
  if (!adapters.empty()) how.instead = advice_on_base(adapters);
  Prepared prepared = input.has_weights ? prepare_model(input, how) : Prepared();
  if (prepared.plain && !adapters.empty()) describe_plain_base(*prepared.plain, adapters, input.name);
  how.change = {};
  std::vector<Prepared> components;
  for (Component& component : input.components)
    components.push_back(component.input.has_weights ? prepare_model(component.input, how) : Prepared());
  for (const Finding& finding : input.folder_findings.list()) {
    if (finding.rule == "MD-COMPONENT") print_warning(escape_name(finding.file) + ": " + finding.message);
  }
  PackPlan plan = plan_pack(input, prepared, options, kind, components);
  if (o.dequantize && plan.plain.empty())
    throw refused("nothing in it is quantised")
        .in_file(escape_name(input.name))
        .hint("leave out --dequantize; --dtype casts plain tensors");
  return plan;
}

void report(const Options& o, const PackPlan& plan, const Input& input, const WriteResult& result,
            const std::optional<Replacement>& replacement) {
  const bool stream = plan.kind == OutputKind::kStream;
  if (o.common.json && !stream) out(plan_json(plan, input, *o.output, replacement, &result));
  if (!stream) {
    const std::string lines = plan_text(plan, *o.output, replacement);
    for (const std::string_view line : split(trim(lines), '\n')) print_detail(line);
  }
  if (plan.quantize) {
    for (const std::string& line : error_lines(*plan.quantize)) print_detail(line);
  }
  for (const std::string& note : plan.notes) print_note(note);
  print_losses(result);
  if (!stream) print_note(summary_line(plan, *o.output, result));
  if (result.digest) print_note("verified, content digest st-content-1:" + *result.digest);
}

// What runs must agree in to do parts of one piece of work, or to go on with each other's. Files here are looked at for
// it, so it is only found where it is needed.
std::string fingerprint_of(const Options& o, const PackPlan& plan, const Input& input,
                           const std::vector<AdapterUse>& adapters) {
  return pack_fingerprint(plan, input, o.known_by,
                          adapters.empty() ? "" : adapter_recipe(adapters, o.known_by));
}

// Where the parts of this plan are.
std::optional<PartsFolder> find_parts(const Options& o, const PackPlan& plan, const Input& input,
                                      const std::vector<AdapterUse>& adapters) {
  if (plan.kind != OutputKind::kFolder) return std::nullopt;
  if (!o.part && !exists(PartsFolder(*o.output, "").path())) return std::nullopt;
  return PartsFolder(*o.output, fingerprint_of(o, plan, input, adapters));
}

// "NAME=https://…/x.npy" names an array.
std::string reach_operand(const std::string& operand) {
  const std::size_t equals = operand.find('=');
  const bool names_array = equals != std::string::npos && operand.ends_with(".npy") && !is_far_name(operand);
  return names_array ? operand.substr(0, equals + 1) + reach(operand.substr(equals + 1)) : reach(operand);
}

// What may be in use by another run is found before anything is read.
void require_free_output(const Options& o) {
  const auto is_far = [](const std::string& operand) { return is_far_name(operand); };
  const bool reads_far = std::any_of(o.inputs.begin(), o.inputs.end(), is_far) ||
                         std::any_of(o.adapters.begin(), o.adapters.end(), is_far) ||
                         is_far_name(o.base.value_or(""));
  if (reads_far && !o.part && !o.common.dry_run) PartialOutput::require_free(real_target(*o.output));
}

// `differing`: names whose bytes turned out not to be those that the config ties them to.
int pack(Options o, const std::set<std::string>& differing) {
  const OutputKind kind = output_kind(*o.output);
  const PackOptions pack_to = pack_options(o, kind);
  if (kind != OutputKind::kStream) require_free_output(o);
  set_remote_options(o.remote);
  for (std::string& operand : o.inputs) operand = reach_operand(operand);
  if (o.base) o.base = reach(*o.base);
  Input input = with_hub_hint(o.inputs.front(), [&o] {
    return open_inputs(o.inputs, o.common.dry_run ? StreamData::kCount : StreamData::kSpool,
                       folder_options(o));
  });
  require_top_model(o, input, kind);
  const std::vector<AdapterUse> adapters = open_adapters(o.adapters);
  if (!adapters.empty()) require_model(input, "name the base model as INPUT and the adapter with --adapter");
  // A stream can't be taken back, parts must have one plan, and adapters act on what is tied.
  const bool whole = adapters.empty() && kind != OutputKind::kStream && !o.part &&
                     !exists(PartsFolder(*o.output, "").path());
  PackPlan plan = make_plan(o, pack_to, adapters, input, kind, {whole, differing});
  for (const std::string& warning : plan.warnings) print_warning(warning);
  for (const std::string& line : plan.announced) print_note(line);
  const std::optional<PartsFolder> parts = find_parts(o, plan, input, adapters);
  if (o.part) plan = plan_part(plan, *o.part, parts->fingerprint());
  std::optional<Replacement> replacement;
  if (o.force && !o.part && kind == OutputKind::kFolder && is_folder(*o.output))
    replacement = plan_replacement(*o.output, plan);
  if (o.common.dry_run) {
    out(o.common.json ? plan_json(plan, input, *o.output, replacement, nullptr)
                      : plan_text(plan, *o.output, replacement));
    for (const std::string& note : plan.notes) print_note(note);
    return 0;
  }
  std::vector<std::string> sources;
  for (const AdapterUse& use : adapters) {
    sources.push_back(use.adapter->name);
    for (const WeightsFile& file : use.adapter->weights.files) sources.push_back(file.name);
  }
  if (kind != OutputKind::kStream) require_apart(*o.output, sources);
  const std::string fingerprint = parts          ? parts->fingerprint()
                                  : is_far(plan) ? fingerprint_of(o, plan, input, adapters)
                                                 : "";
  const WriteOptions options = {.force = o.force,
                                .verify = o.verify,
                                .threads = o.common.thread_count(),
                                .progress = o.common.show_progress(),
                                .fingerprint = fingerprint,
                                .connections = o.remote.connections};
  if (o.part) {
    report(o, plan, input, write_part(plan, *parts, *o.output, input, options), std::nullopt);
    return 0;
  }
  const FinishedShards finished = parts ? find_finished(*parts, plan, o.force) : FinishedShards();
  const WriteResult result = write_pack(plan, input, *o.output, options, finished);
  if (parts) parts->remove();
  if (!finished.empty())
    print_note(
        fmt::format("{} of {} taken from parts", plural(finished.size(), "shard"), plan.weights.size()));
  report(o, plan, input, result, replacement);
  return 0;
}

Reaching how_to_reach(const Options& o) {
  const bool parts = output_kind(*o.output) == OutputKind::kFolder;
  return {.pins = parts ? PartsFolder(*o.output, "").path() : "",
          .writes_pins = parts && o.part && !o.common.dry_run,
          .once = std::find(o.inputs.begin(), o.inputs.end(), "-") != o.inputs.end()};
}

}  // namespace

int main(int argc, char** argv) {
  return mu::run("st-pack", [&] {
    const Options o = parse_pack_options(argc, argv);
    std::set<std::string> differing;
    while (true) {
      try {
        return reaching(how_to_reach(o), [&] { return pack(o, differing); });
      } catch (const TieDiffers& tie) {
        print_note(std::string(tie.what()) + ": begun anew, with both");
        differing.insert(tie.dropped);
      }
    }
  });
}
