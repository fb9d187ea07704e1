// SPDX-License-Identifier: Apache-2.0
// lora-extract: just the adapter. Out of a checkpoint of a LoRA run, as PEFT would have saved it.
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "cli/app.h"
#include "cli/console.h"
#include "cli/run.h"
#include "lora/report.h"
#include "os/folder.h"
#include "pack/report.h"

namespace {

using namespace mu;

constexpr ProgramText kText = {"lora-extract", "Take the LoRA adapter out of a training checkpoint, as PEFT saves it.",
                               "CHECKPOINT -o OUT", "lora-extract checkpoint-500 -o adapter"};

struct Options {
  std::vector<std::string> operands;
  std::optional<std::string> output, adapter, alpha, base_id, dtype;
  bool force = false, verify = false, weights_only = false;
  CommonOptions common;
};

Options parse_options(int argc, char** argv) {
  Options o;
  App app(kText);
  app.operands(o.operands);
  app.group("Output");
  app.value("-o,--output", "OUT", o.output, "the adapter's folder");
  app.value("--dtype", "TYPE", o.dtype, "bf16, f16 or f32 (default: as they are)");
  app.value("--base-id", "ID", o.base_id, "the base model that adapter_config.json names");
  app.flag("--weights-only", o.weights_only, "leave tokenizer and chat template behind");
  app.flag("--force", o.force, "replace what exists");
  app.flag("--verify", o.verify, "reread the output and compare it");
  app.group("Checkpoint");
  app.value("--adapter", "NAME", o.adapter, "which of several adapters");
  app.value("--alpha", "N", o.alpha, "lora_alpha of the training, where no config tells it");
  app.common(o.common, "njpt");
  app.parse(argc, argv);
  if (o.operands.size() != 1) throw usage("name one CHECKPOINT").hint("see lora-extract --help");
  if (!o.output || o.output->empty()) throw usage("name the output with -o OUT").hint("see lora-extract --help");
  if (o.output->ends_with(".safetensors") || *o.output == "-")
    throw usage("OUT is a folder: an adapter is its tensors and their config");
  return o;
}

std::optional<double> number_of(const std::optional<std::string>& text, std::string_view option) {
  if (!text) return std::nullopt;
  double value = 0;
  const std::from_chars_result parsed = std::from_chars(text->data(), text->data() + text->size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text->data() + text->size() || !std::isfinite(value) || value <= 0)
    throw usage(fmt::format("{} takes a number above 0, not '{}'", option, escape_name(*text)));
  return value;
}

PackOptions pack_options(const Options& o, const Extraction& extraction) {
  PackOptions options;
  options.max_shard_size = 0;  // no loader knows sharded adapters
  options.weights_only = o.weights_only;
  options.texts = {{"adapter_config.json", extraction.config_text}};
  options.left_roles = {FileRole::kConfig, FileRole::kGenerationConfig, FileRole::kNamedAdapter, FileRole::kCode};
  if (o.dtype) {
    const std::optional<Dtype> dtype = parse_user_dtype(*o.dtype);
    if (dtype != Dtype::kBF16 && dtype != Dtype::kF16 && dtype != Dtype::kF32)
      throw usage(fmt::format("--dtype takes bf16, f16 or f32, not '{}'", escape_name(*o.dtype)));
    options.selection.dtype = dtype;
  }
  return options;
}

std::vector<std::pair<std::string, std::uint64_t>> files_of(const PackPlan& plan) {
  std::vector<std::pair<std::string, std::uint64_t>> files;
  for (const WeightsOutput& file : plan.weights) files.emplace_back(file.name, file.size);
  for (const GatheredFile& file : plan.files) {
    if (file.taken) files.emplace_back(file.name, file.size);
  }
  return files;
}

int extract(const Options& o) {
  Extraction extraction = extract_adapter(
      o.operands.front(), {o.adapter.value_or(""), number_of(o.alpha, "--alpha"), o.base_id.value_or("")});
  PackPlan plan = plan_pack(extraction.input, pack_options(o, extraction), OutputKind::kFolder, {});
  std::optional<Replacement> replacement;
  if (o.force && is_folder(*o.output)) replacement = plan_replacement(*o.output, plan);
  WriteResult result;
  if (!o.common.dry_run)
    result = write_pack(plan, extraction.input, *o.output,
                        {.force = o.force,
                         .verify = o.verify,
                         .threads = o.common.thread_count(),
                         .progress = o.common.show_progress()});
  if (o.common.json) {
    out(extraction_json(extraction, *o.output, !o.common.dry_run, files_of(plan)));
  } else if (o.common.dry_run) {
    out(plan_text(plan, *o.output, replacement));
  }
  const std::string modules = modules_text(extraction);
  for (const std::string_view line : split(trim(modules), '\n')) print_detail(line);
  for (const std::string& note : extraction.notes) print_note(note);
  for (const std::string& note : plan.notes) print_note(note);
  for (const auto& [tensor, report] : result.losses) print_warning(loss_text(tensor, report));
  print_note(fmt::format("{}{}", o.common.dry_run ? "" : escape_name(*o.output) + ": ", extraction_line(extraction)));
  if (result.digest) print_note("verified, content digest st-content-1:" + *result.digest);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return mu::run("lora-extract", [&] { return extract(parse_options(argc, argv)); });
}
