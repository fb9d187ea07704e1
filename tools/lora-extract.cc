// SPDX-License-Identifier: Apache-2.0
// lora-extract: only the adapter, either from a checkpoint of a LoRA run, as PEFT would have saved it, or between
// two full models.
#include <fmt/format.h>

#include "base/text.h"
#include "cli/console.h"
#include "cli/run.h"
#include "lora-extract-options.h"
#include "lora/report.h"
#include "os/folder.h"
#include "os/parts.h"
#include "pack/far_plan.h"
#include "pack/far_report.h"
#include "pack/report.h"
#include "remote.h"

namespace {

using namespace mu;
using Options = LoraExtractOptions;

// What decides the values of its tensors: those of a server's form are computed.
std::string recipe_of(const Options& o) {
  return o.server ? fmt::format("for {} {}", server_name(*o.server), *o.base) : "";
}

int extract(Options o) {
  set_remote_options(o.remote);
  for (std::string& operand : o.operands) operand = reach(operand);
  if (o.tuned) return extract_pair_mode(o);
  if (o.resize) return resize_mode(o);
  if (o.compare) return compare_mode(o);
  Extraction extraction = with_hub_hint(o.operands.front(), [&o] {
    return extract_adapter(o.operands.front(),
                           {o.adapter, o.alpha, o.base_id, o.server.has_value(), o.remote.connections});
  });
  if (o.server) serve_extraction(extraction, *o.server, open_model(*o.base));
  PackOptions options = lora_pack_options(o, extraction.config_text);
  options.selection.dtype = o.dtype;
  const PackPlan plan = plan_pack(extraction.input, {}, options, OutputKind::kFolder);
  std::optional<Replacement> replacement;
  if (o.force && is_folder(o.output)) replacement = plan_replacement(o.output, plan);
  WriteResult result;
  if (!o.common.dry_run)
    result = write_pack(plan, extraction.input, o.output,
                        lora_write_options(o, plan, extraction.input, recipe_of(o)));
  if (o.common.json) {
    const std::optional<std::uint64_t> to_read =
        is_far(plan) ? std::optional(plan_far(plan).bytes) : std::nullopt;
    out(extraction_json(extraction, o.output, !o.common.dry_run, to_read, written_files(plan)));
  } else if (o.common.dry_run) {
    out(plan_text(plan, o.output, replacement));
  }
  const std::string modules = modules_text(extraction);
  for (const std::string_view line : split(trim(modules), '\n')) print_detail(line);
  for (const std::string& note : extraction.notes) print_note(note);
  if (extraction.form) {
    for (const std::string& note : extraction.form->notes) print_note(note);
  }
  for (const std::string& note : plan.notes) print_note(note);
  for (const auto& [tensor, report] : result.losses) print_warning(loss_text(tensor, report));
  print_note(fmt::format("{}{}{}", o.common.dry_run ? "" : escape_name(o.output) + ": ",
                         extraction_line(extraction), result.read ? read_text(plan, *result.read) : ""));
  if (result.digest) print_note("verified, content digest st-content-1:" + *result.digest);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return mu::run("lora-extract", [&] {
    const Options o = parse_lora_options(argc, argv);
    const Reaching how{.pins = o.tuned ? PartsFolder(o.output, "").path() : "",
                       .writes_pins = o.part && !o.common.dry_run};
    return reaching(how, [&o] { return extract(o); });
  });
}
