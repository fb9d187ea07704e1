// SPDX-License-Identifier: Apache-2.0
#include "st-pack-options.h"

#include <fmt/format.h>

#include <set>

#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/part.h"
#include "model/dequantise.h"
#include "os/file.h"
#include "os/folder.h"
#include "pack/output_kind.h"
#include "remote.h"

namespace mu {
namespace {

constexpr ProgramText kText = {"st-pack",
                               "Write safetensors: pack, cast, select, rename, shard; publish a checkpoint.",
                               "INPUT... -o OUT", "st-pack checkpoint-500 -o out --dtype bf16"};

Dtype target_dtype(std::string_view text) {
  const std::optional<Dtype> dtype = parse_user_dtype(text);
  for (const Dtype allowed :
       {Dtype::kBF16, Dtype::kF16, Dtype::kF32, Dtype::kF64, Dtype::kF8E4M3, Dtype::kF8E5M2}) {
    if (dtype == allowed) return allowed;
  }
  throw usage(
      fmt::format("--dtype takes bf16, f16, f32, f64, f8_e4m3 or f8_e5m2, not '{}'", escape_name(text)));
}

std::set<std::string> read_names(const std::string& path, bool null) {
  std::set<std::string> names;
  constexpr std::uint64_t kLimit = 1U << 30;  // bytes
  const std::string text =
      path == "-" ? read_whole_stream(0, kLimit, "standard input") : read_whole_file(path, kLimit);
  for (const std::string_view name : split(text, null ? '\0' : '\n')) {
    if (!name.empty()) names.emplace(name);
  }
  return names;
}

NamesOptions names_options(std::string_view names, const std::optional<std::string>& experts) {
  using Mode = NamesOptions::Mode;
  NamesOptions options;
  options.mode = names == "auto" ? Mode::kAuto : names == "published" ? Mode::kPublished : Mode::kAsIs;
  if (!experts) return options;
  options.experts = *experts == "split" ? NamesOptions::Experts::kSplit : NamesOptions::Experts::kStack;
  if (options.mode == Mode::kAsIs) throw usage("--experts changes names, which --names as-is forbids");
  if (options.mode == Mode::kPublished && *experts == "stack")
    throw usage("--experts stack writes names of memory, not those of --names published");
  return options;
}

// "--dequantize f16" makes an input of the type.
void refuse_types_as_inputs(const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    if (parse_user_dtype(input) && !exists(input))
      throw usage(fmt::format("there is no file '{}'", escape_name(input)))
          .hint(fmt::format("a type goes with an equals sign: --dequantize={}", escape_name(input)));
  }
}

}  // namespace

StPackOptions parse_pack_options(int argc, char** argv) {
  StPackOptions o;
  std::optional<std::string> part, fingerprint, names, experts, dequantize, quantize;
  App app(kText);
  app.operands(o.inputs);
  app.group("Output");
  app.value("-o,--output", "OUT", o.output, "a folder, a .safetensors or .npy file, or -");
  app.value("--max-shard-size", "SIZE", o.max_shard_size, "start a new shard beyond SIZE (5GB); 0: never");
  app.list("--metadata", "K=V", o.metadata, "set a metadata key; K= removes it (repeatable)");
  app.flag("--weights-only", o.weights_only, "leave out config, tokenizer and other files");
  app.flag("--force", o.force, "replace what exists");
  app.flag("--verify", o.verify, "read the output again and compare it");
  app.value("--from", "zero|dcp", o.from, "use the ranks' files even beside whole weights", {"zero", "dcp"});
  app.value("--key", "PATH", o.key, "where the model is in the tree of a checkpoint");
  app.value("--base", "DIR", o.base, "take config, tokenizer and lost weights from DIR");
  app.list("--adapter", "DIR[:SCALE]", o.adapters, "merge this LoRA adapter (repeatable)");
  app.flag("--salvage", o.salvage, "take the tensors out of a dangerous pickle");
  app.group("Beyond one machine");
  app.value("--part", "I/N|auto", part, "write part I of N; a run without it finishes");
  app.value("--fingerprint", "HOW", fingerprint, "how parts know the input: time (default), content",
            {"time", "content"});
  app.remote(o.remote);
  app.group("Tensors");
  app.list("--dtype", "[GLOB=]TYPE", o.dtypes, "cast to bf16, f16, f32, f64, f8_e4m3, f8_e5m2");
  app.optional_value("--dequantize", "TYPE", "", dequantize,
                     "make quantised weights plain, in bf16, f16 or f32");
  app.value("--quantize", "SCHEME", quantize, "to fp8[-dynamic|-block], mxfp4[a16] or nvfp4");
  app.list("--keep", "GLOB", o.keep, "quantize all but these modules (repeatable)");
  app.list("--select", "GLOB", o.select, "only tensors with matching names (repeatable)");
  app.list("--exclude", "GLOB", o.exclude, "skip tensors with matching names (repeatable)");
  app.list("--rename", "s/ERE/NEW/", o.rename, "rename tensors, as sed -E does (repeatable)");
  app.value("--names", "HOW", names, "auto (default), published or as-is", {"auto", "published", "as-is"});
  app.value("--experts", "split|stack", experts, "experts one by one, or stacked as in memory",
            {"split", "stack"});
  app.value("--names-from", "FILE", o.names_from, "only the tensors that FILE names, one per line");
  app.common(o.common, "nj0pt");
  app.parse(argc, argv);
  if (o.inputs.empty()) throw usage("name an INPUT").hint("see st-pack --help");
  if (!o.output || o.output->empty()) throw usage("name the output with -o OUT").hint("see st-pack --help");
  require_output_here(*o.output);
  if (part) o.part = parse_part_option(*part);
  o.dequantize = dequantize.has_value();
  if (dequantize && !dequantize->empty())
    o.plain_dtype = parse_plain_dtype(*dequantize);
  else if (dequantize)
    refuse_types_as_inputs(o.inputs);
  if (quantize) o.quantize = parse_quant_scheme(*quantize);
  if (!quantize && !o.keep.empty()) throw usage("--keep is for --quantize");
  if (quantize && experts == "stack") throw usage("--quantize splits experts, which --experts stack stacks");
  o.names = names_options(names.value_or("auto"), experts);
  if (fingerprint) o.known_by = parse_known_by(*fingerprint);
  const OutputKind kind = output_kind(*o.output);
  if (o.part && kind != OutputKind::kFolder)
    throw usage("--part needs a folder as output").hint("a part consists of whole shards");
  return o;
}

PackOptions pack_options(const StPackOptions& o, OutputKind kind) {
  PackOptions pack;
  for (const std::string& glob : o.select) pack.selection.select.emplace_back(glob);
  for (const std::string& glob : o.exclude) pack.selection.exclude.emplace_back(glob);
  for (const std::string& rule : o.rename) pack.selection.rename.emplace_back(rule);
  if (o.names_from) pack.selection.names = read_names(*o.names_from, o.common.null);
  for (const std::string& text : o.dtypes) {
    const std::size_t equals = text.rfind('=');
    if (equals == std::string::npos) {
      pack.selection.dtype = target_dtype(text);
    } else {
      pack.selection.dtype_of.emplace_back(Glob(text.substr(0, equals)),
                                           target_dtype(text.substr(equals + 1)));
    }
  }
  for (const std::string& text : o.metadata) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      throw usage("--metadata takes KEY=VALUE, not '" + escape_name(text) + "'");
    const std::string value = text.substr(equals + 1);
    pack.metadata.emplace_back(text.substr(0, equals), value.empty() ? std::nullopt : std::optional(value));
  }
  if (o.max_shard_size) pack.max_shard_size = parse_size(*o.max_shard_size);
  if (o.max_shard_size && kind != OutputKind::kFolder)
    throw usage("--max-shard-size needs a folder as output");
  if (o.verify && kind == OutputKind::kStream) throw usage("--verify can't read standard output again");
  pack.names = o.names;
  if (o.quantize) {
    pack.quantize = QuantizeOptions{.scheme = *o.quantize, .measure = console().verbose > 0 || o.common.json};
    for (const std::string& glob : o.keep) pack.quantize->keep.emplace_back(glob);
  }
  pack.weights_only = o.weights_only;
  return pack;
}

FolderOptions folder_options(const StPackOptions& o) {
  using From = FolderOptions::From;
  return {.from = !o.from             ? From::kAny
                  : *o.from == "zero" ? From::kZero
                                      : From::kDcp,
          .base = o.base.value_or(""),
          .key = o.key.value_or(""),
          .components = FolderOptions::Components::kApart};
}

}  // namespace mu
