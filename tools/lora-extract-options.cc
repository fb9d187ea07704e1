// SPDX-License-Identifier: Apache-2.0
#include "lora-extract-options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "cli/part.h"
#include "pack/far_plan.h"
#include "pack/part.h"
#include "remote.h"

namespace mu {
namespace {

constexpr ProgramText kText = {
    "lora-extract", "Take the LoRA adapter out of a checkpoint, or find it between two models.",
    "CHECKPOINT -o OUT | --base A --tuned B -o OUT", "lora-extract checkpoint-500 -o adapter"};

double number_of(std::string_view text, std::string_view option) {
  double value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || !std::isfinite(value) ||
      value <= 0)
    throw usage(fmt::format("{} takes a number above 0, not '{}'", option, escape_name(text)));
  return value;
}

std::size_t rank_of(std::string_view text, std::string_view option) {
  const double value = number_of(text, option);
  if (value != std::floor(value) || value > 65536)
    throw usage(fmt::format("{} takes a whole number up to 65536, not '{}'", option, escape_name(text)));
  return static_cast<std::size_t>(value);
}

RankChoice parse_rank(const std::string& text) {
  RankChoice choice;
  choice.is_default = false;
  constexpr std::string_view kEnergy = "energy=";
  if (text == "auto") {
    choice.by = RankChoice::By::kNoise;
  } else if (text.starts_with(kEnergy)) {
    choice.by = RankChoice::By::kEnergy;
    choice.energy = number_of(std::string_view(text).substr(kEnergy.size()), "--rank energy=");
    if (choice.energy > 1) throw usage("--rank energy= takes a fraction of 1, such as 0.95");
  } else {
    choice.rank = rank_of(text, "--rank");
  }
  return choice;
}

PairOptions::Embeddings parse_embeddings(std::string_view text) {
  using Embeddings = PairOptions::Embeddings;
  return text == "lora" ? Embeddings::kLora : text == "full" ? Embeddings::kFull : Embeddings::kSkip;
}

// Values as they were given, where they need a look.
struct Given {
  std::optional<std::string> output, adapter, alpha, base_id, dtype, rank, max_rank, embeddings, bias, svd,
      tolerance, kernel, resize, part, fingerprint, server;
  std::vector<std::string> targets, excludes, full_modules;

  [[nodiscard]] bool any_of_pair() const {
    return rank || max_rank || embeddings || bias || svd || tolerance || kernel || part || fingerprint ||
           !targets.empty() || !excludes.empty() || !full_modules.empty();
  }
};

void declare(App& app, LoraExtractOptions& o, Given& given) {
  app.operands(o.operands);
  app.group("Output");
  app.value("-o,--output", "OUT", given.output, "the folder to write");
  app.value("--dtype", "TYPE", given.dtype, "bf16, f16 or f32 (default: as they are)");
  app.value("--base-id", "ID", given.base_id, "the base model that adapter_config.json names");
  app.flag("--weights-only", o.weights_only, "leave out tokenizer and chat template");
  app.flag("--force", o.force, "replace what exists");
  app.flag("--verify", o.verify, "read the output again and compare it");
  app.value("--for", "SERVER", given.server, "the form for peft, vllm or sglang; with --base",
            {"peft", "vllm", "sglang"});
  app.group("From a checkpoint or adapter");
  app.value("--adapter", "NAME", given.adapter, "which adapter, where there are several");
  app.value("--alpha", "N", given.alpha, "lora_alpha, where no config has it");
  app.value("--resize", "N", given.resize, "write ADAPTER at rank N");
  app.flag("--compare", o.compare, "report how far apart two adapters are");
  app.group("Between two models");
  app.value("--base", "BASE", o.base, "the model before training, or that of --for");
  app.value("--tuned", "TUNED", o.tuned, "the model after training");
  app.value("--rank", "N|auto|energy=X", given.rank, "64; auto: as many as rise above the noise");
  app.value("--max-rank", "N", given.max_rank, "limit of auto and energy (128)");
  app.list("--target", "GLOB", given.targets, "only matching modules (repeatable)");
  app.list("--exclude", "GLOB", given.excludes, "skip matching modules (repeatable)");
  app.value("--embeddings", "HOW", given.embeddings, "skip (default), lora or full",
            {"skip", "lora", "full"});
  app.value("--bias", "none|all", given.bias, "include biases (default: none)", {"none", "all"});
  app.list("--full-modules", "GLOB", given.full_modules, "include matching modules whole (repeatable)");
  app.value("--svd", "fast|exact", given.svd, "how close to the optimum (fast: within 0.25 %)",
            {"fast", "exact"});
  app.value("--tolerance", "X", given.tolerance, "exit 1 where a module's error is above X");
  app.value("--kernel", "NAME", given.kernel, "auto, avx512, avx2, neon or baseline",
            {"auto", "avx512", "avx2", "neon", "baseline"});
  app.value("--part", "I/N|auto", given.part, "do part I of N; a run without it finishes");
  app.value("--fingerprint", "HOW", given.fingerprint, "how parts know the models: time (default), content",
            {"time", "content"});
  app.group("Common");
  app.remote(o.remote);
  app.common(o.common, "njpt");
}

// Exactly one of the four things that the program does. Two of them can end in the form for a server.
void require_one_mode(const LoraExtractOptions& o) {
  if (o.server && !o.base) throw usage("--for needs --base BASE, the model that the server has");
  if (o.server && (o.resize || o.compare)) throw usage("--for can't be used with --resize or --compare");
  if (o.tuned && !o.base) throw usage("--base and --tuned need each other");
  if (o.base && !o.tuned && !o.server)
    throw usage("--base and --tuned need each other").hint("with a CHECKPOINT, --base needs --for");
  if (o.tuned && !o.operands.empty()) throw usage("give either a CHECKPOINT or --base and --tuned");
  if ((o.resize ? 1 : 0) + (o.compare ? 1 : 0) + (o.base ? 1 : 0) > 1)
    throw usage("--base and --tuned, --resize and --compare exclude one another");
  if (!o.tuned && o.operands.size() != (o.compare ? 2U : 1U))
    throw usage(o.compare ? "--compare takes two adapters" : "give one CHECKPOINT, or --base and --tuned")
        .hint("see lora-extract --help");
}

void set_output(LoraExtractOptions& o, const Given& given) {
  if (!given.output || given.output->empty())
    throw usage("name the output with -o OUT").hint("see lora-extract --help");
  if (given.output->ends_with(".safetensors") || *given.output == "-")
    throw usage("OUT must be a folder: an adapter is tensors and a config");
  require_output_here(*given.output);
  o.output = *given.output;
  o.adapter = given.adapter.value_or("");
  o.base_id = given.base_id.value_or("");
  if (given.alpha) o.alpha = number_of(*given.alpha, "--alpha");
  if (!given.dtype) return;
  o.dtype = parse_user_dtype(*given.dtype);
  if (o.dtype != Dtype::kBF16 && o.dtype != Dtype::kF16 && o.dtype != Dtype::kF32)
    throw usage(fmt::format("--dtype takes bf16, f16 or f32, not '{}'", escape_name(*given.dtype)));
}

// What only counts between two models.
void set_pair(LoraExtractOptions& o, const Given& given) {
  if (given.any_of_pair() && !o.tuned)
    throw usage("--rank and the options that choose modules need --base and --tuned");
  if (o.tuned && given.adapter) throw usage("--adapter needs a CHECKPOINT");
  if (given.rank) o.rank = parse_rank(*given.rank);
  if (given.max_rank) o.rank.most = rank_of(*given.max_rank, "--max-rank");
  if (o.tuned && o.alpha && o.rank.by != RankChoice::By::kNumber)
    throw usage("with --base and --tuned, --alpha needs a numeric --rank");
  if (given.embeddings) o.pair.embeddings = parse_embeddings(*given.embeddings);
  o.pair.biases = given.bias == "all";
  for (const std::string& glob : given.targets) o.pair.targets.emplace_back(glob);
  for (const std::string& glob : given.excludes) o.pair.excludes.emplace_back(glob);
  for (const std::string& glob : given.full_modules) o.pair.full_modules.emplace_back(glob);
  o.exact = given.svd == "exact";
  if (given.part) o.part = parse_part_option(*given.part);
  if (given.fingerprint) o.known_by = parse_known_by(*given.fingerprint);
  if (given.kernel) o.kernel = *given.kernel;
}

}  // namespace

LoraExtractOptions parse_lora_options(int argc, char** argv) {
  LoraExtractOptions o;
  Given given;
  App app(kText);
  declare(app, o, given);
  app.parse(argc, argv);
  if (given.server) o.server = parse_server(*given.server);
  if (given.resize) o.resize = rank_of(*given.resize, "--resize");
  require_one_mode(o);
  if (given.tolerance) o.tolerance = number_of(*given.tolerance, "--tolerance");
  if (o.compare) return o;
  set_output(o, given);
  set_pair(o, given);
  return o;
}

PackOptions lora_pack_options(const LoraExtractOptions& o, std::string config_text) {
  PackOptions options;
  options.max_shard_size = 0;  // no loader knows sharded adapters
  options.weights_only = o.weights_only;
  options.texts = {{"adapter_config.json", std::move(config_text)}};
  options.left_roles = {FileRole::kConfig, FileRole::kGenerationConfig, FileRole::kNamedAdapter,
                        FileRole::kCode};
  return options;
}

WriteOptions lora_write_options(const LoraExtractOptions& o, const PackPlan& plan, const Input& input,
                                std::string_view recipe) {
  return {.force = o.force,
          .verify = o.verify,
          .threads = o.common.thread_count(),
          .progress = o.common.show_progress(),
          .fingerprint = is_far(plan) ? pack_fingerprint(plan, input, KnownBy::kTime, recipe) : "",
          .connections = o.remote.connections};
}

std::vector<std::pair<std::string, std::uint64_t>> written_files(const PackPlan& plan) {
  std::vector<std::pair<std::string, std::uint64_t>> files;
  for (const WeightsOutput& file : plan.weights) files.emplace_back(file.name, file.size);
  for (const GatheredFile& file : plan.files) {
    if (file.taken) files.emplace_back(file.name, file.size);
  }
  return files;
}

}  // namespace mu
