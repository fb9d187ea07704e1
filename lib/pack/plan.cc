// SPDX-License-Identifier: Apache-2.0
// How a pack is planned. The selection (select.h) turns the tensors of the input into output tensors with
// name, dtype and size; tied names that repeat another tensor are dropped. For a folder, gather.h decides on
// the other files. The tensors are then split into shards in the order of the input and by the rule of
// huggingface_hub, and sorted within each file as safetensors sorts them, so the header of every file, and
// with it every offset, is known before a byte is written. That is why --dry-run can print exact sizes, the
// space on disk can be checked first, and a part of the work (part.h) can be written on its own. The config
// follows only if a cast or untied embeddings make it wrong. Everything that must be refused is refused here.

#include "pack/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json_write.h"
#include "base/text.h"
#include "os/interrupt.h"
#include "pack/casts.h"
#include "pack/refusals.h"
#include "pack/sharding.h"
#include "weights/layout.h"
#include "weights/npy.h"
#include "weights/shards.h"

namespace mu {
namespace {

WeightsOutput make_output(std::string name, const Weights& from, std::vector<PackedTensor> tensors,
                          const Metadata& metadata) {
  std::vector<TensorSpec> specs;
  specs.reserve(tensors.size());
  for (PackedTensor& tensor : tensors) specs.push_back(tensor.output);
  const std::vector<std::size_t> order = safetensors_order(specs);
  WeightsOutput out;
  out.name = std::move(name);
  out.from = &from;
  out.prefix = safetensors_prefix(specs, order, metadata);
  out.size = out.prefix.size();
  out.tensors.reserve(order.size());
  for (const std::size_t i : order) {
    check_interrupt();
    out.size += tensors[i].output.size;
    out.tensors.push_back(std::move(tensors[i]));
  }
  return out;
}

// Names that repeat others are recorded, but not beside names that save_pretrained writes, which records none. What
// headers say of quantised weights goes with them.
Metadata planned_metadata(const PackPlan& plan, const PackOptions& options, const Input& input,
                          const Prepared& prepared) {
  const bool changed = plan.names && plan.names->change != NameChange::kNone;
  MetadataChanges changes;
  if (prepared.plain) {
    for (const std::string& key : prepared.plain->metadata) changes.emplace_back(key, std::nullopt);
  }
  changes.insert(changes.end(), options.metadata.begin(), options.metadata.end());
  return output_metadata(input.weights, changed ? std::vector<TiedName>() : plan.dropped,
                         options.selection.rename, changes);
}

// As huggingface_hub does it, the index holds the metadata too, without the format. Unlike there, so does each
// shard: loaders of quantised weights read them there.
void plan_shards(PackPlan& plan, std::vector<PackedTensor> tensors, const PackOptions& options,
                 const Input& input, const Prepared& prepared) {
  const std::string& stem = input.choice.stem;
  std::vector<std::vector<std::size_t>> shards = shards_of(tensors, options.max_shard_size);
  if (shards.empty()) shards.emplace_back();
  Metadata metadata = planned_metadata(plan, options, input, prepared);
  if (shards.size() == 1) {
    plan.weights.push_back(make_output(shard_name(stem, 1, 1), input.weights, std::move(tensors), metadata));
    return;
  }
  std::vector<std::pair<std::string, std::string>> weight_map;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(stem, i + 1, shards.size());
    std::vector<PackedTensor> members;
    for (const std::size_t index : shards[i]) {
      weight_map.emplace_back(tensors[index].output.name, name);
      total += tensors[index].output.size;
      members.push_back(std::move(tensors[index]));
    }
    plan.weights.push_back(make_output(name, input.weights, std::move(members), metadata));
  }
  std::vector<std::pair<std::string, std::string>> index_metadata = {{"total_size", std::to_string(total)}};
  metadata.erase("format");
  for (const auto& [key, value] : metadata) {
    std::string json;
    append_json_string_ascii(json, value);
    if (key != "total_size") index_metadata.emplace_back(key, std::move(json));
  }
  plan.texts.push_back({index_name(stem), write_shard_index(index_metadata, weight_map)});
}

// The dtype that the config should name after packing: the one asked for or, if some tensors are cast, the
// only floating dtype that is left.
std::optional<Dtype> config_dtype(const std::vector<PackedTensor>& tensors, const Selection& selection) {
  if (selection.dtype) return selection.dtype;
  std::set<Dtype> floating;
  bool cast = false;
  for (const PackedTensor& tensor : tensors) {
    cast = cast || tensor.output.dtype != tensor.input->dtype;
    if (is_floating(tensor.output.dtype)) floating.insert(tensor.output.dtype);
  }
  if (!cast || floating.size() != 1) return std::nullopt;
  return *floating.begin();
}

void plan_config(PackPlan& plan, const Input& input, const Prepared& prepared) {
  const auto config = std::find_if(plan.files.begin(), plan.files.end(), [](const GatheredFile& file) {
    return file.name == "config.json" && file.taken;
  });
  if (config == plan.files.end() || !input.config) return;
  const std::optional<Dtype> dtype = plan.dtype;
  std::string text = with_config_edits(input.config->text, prepared.config);
  if (dtype) text = with_dtype(parse_model_config(std::move(text)), torch_name(*dtype));
  if (prepared.unties) text = with_untied_embeddings(parse_model_config(std::move(text)));
  if (plan.quantize) text = with_config_edits(std::move(text), {quantize_edit(*plan.quantize)});
  if (text == input.config->text) return;
  config->reason = dtype ? fmt::format("config, its dtype set to {}", torch_name(*dtype)) : "config";
  if (prepared.unties) config->reason += ", tie_word_embeddings set to false";
  for (const ConfigEdit& edit : prepared.config)
    config->reason += fmt::format(", {} {}", join(edit.path, "."), edit.json ? "set" : "removed");
  if (plan.quantize) config->reason += ", quantization_config set";
  config->size = text.size();
  plan.texts.insert(plan.texts.begin(), {config->name, std::move(text)});
}

// Notes what a model put together from ranks still lacks.
void note_ranks(PackPlan& plan, const Input& input, const PackOptions& options) {
  if (!input.weights.from_ranks) return;
  const std::string_view needed = input.is_adapter() ? "adapter_config.json" : "config.json";
  const bool is_made = std::any_of(options.texts.begin(), options.texts.end(),
                                   [needed](const TextOutput& text) { return text.name == needed; });
  if (plan.kind == OutputKind::kFolder && !options.weights_only && !input.folder->has(needed) && !is_made)
    plan.notes.push_back(fmt::format("no {} in the checkpoint or above it: --base DIR adds one", needed));
  const std::string* const dtype = input.config ? input.config->dtype() : nullptr;
  const bool masters = std::any_of(plan.weights.begin(), plan.weights.end(), [](const WeightsOutput& file) {
    return std::any_of(file.tensors.begin(), file.tensors.end(),
                       [](const PackedTensor& tensor) { return tensor.output.dtype == Dtype::kF32; });
  });
  if (masters && options.selection.dtype == std::nullopt && dtype != nullptr &&
      (*dtype == "bfloat16" || *dtype == "float16"))
    plan.notes.push_back(fmt::format(
        "the weights are fp32, twice the size of the {} that config.json names: see --dtype", *dtype));
  std::uint64_t lora = 0;
  for (const Tensor& tensor : input.weights.tensors)
    lora += tensor.name.find(".lora_") != std::string::npos ? 1 : 0;
  if (lora > 0 && !input.is_adapter())
    plan.notes.push_back(fmt::format(
        "{} of a LoRA adapter among the weights: with an adapter_config.json beside them, only the "
        "adapter is written",
        plural(lora, "tensor")));
}

void plan_npy(PackPlan& plan, const Weights& from, std::vector<PackedTensor> tensors) {
  if (tensors.size() != 1) {
    throw refused(fmt::format("a .npy file holds one tensor, but {} are selected", tensors.size()))
        .hint("choose one with --select NAME");
  }
  const TensorSpec& spec = tensors.front().output;
  WeightsOutput out;
  out.from = &from;
  out.prefix = npy_prefix({spec.name, spec.dtype, spec.shape, 0, 0, spec.size});
  out.size = out.prefix.size() + spec.size;
  out.tensors = std::move(tensors);
  plan.weights.push_back(std::move(out));
}

}  // namespace

std::uint64_t PackPlan::tensor_count() const {
  std::uint64_t count = 0;
  for (const WeightsOutput& file : weights) count += file.tensors.size();
  return count;
}

namespace {

// Applies the options that concern the files of the folder.
void apply_options(PackPlan& plan, const PackOptions& options) {
  for (GatheredFile& file : plan.files) {
    const std::vector<FileRole>& left = options.left_roles;
    if (!file.taken || std::find(left.begin(), left.end(), file.role) == left.end()) continue;
    file.taken = false;
    file.reason = fmt::format("{} of another model", role_name(file.role));
  }
  for (const TextOutput& text : options.texts) {
    std::erase_if(plan.files, [&text](const GatheredFile& file) { return file.name == text.name; });
    const FileRole role = role_of(text.name, false);
    plan.files.push_back({text.name, text.text.size(), true, role, std::string(role_name(role))});
    plan.texts.push_back(text);
  }
  std::sort(plan.files.begin(), plan.files.end(),
            [](const GatheredFile& a, const GatheredFile& b) { return a.name < b.name; });
}

// An adapter that does nothing is not handed on; where the config is not, nothing is said about alpha. Texts are
// those of programs that made or judged them.
void require_working_adapter(const PackPlan& plan, const Input& input) {
  static constexpr std::string_view kConfig = "adapter_config.json";
  if (!input.adapter || !input.adapter->patterns) return;
  const bool made = std::any_of(plan.texts.begin(), plan.texts.end(),
                                [](const TextOutput& text) { return text.name == kConfig; });
  const bool taken = std::any_of(plan.files.begin(), plan.files.end(),
                                 [](const GatheredFile& file) { return file.name == kConfig && file.taken; });
  if (taken && !made)
    in_file(fmt::format("{}/{}", input.name, kConfig), [&] { require_effect(*input.adapter->patterns); });
}

// Warns of weights that are left behind, a line for each reason.
void warn_of_left_weights(PackPlan& plan) {
  std::map<std::string, std::vector<std::string>> names;
  for (const GatheredFile& file : plan.files) {
    if (file.is_weights && !file.taken) names[file.reason].push_back(escape_name(file.name));
  }
  constexpr std::size_t kShown = 5;
  for (auto& [reason, left] : names) {
    const std::size_t count = left.size();
    left.resize(std::min(count, kShown));
    plan.warnings.push_back(fmt::format("weights are left behind: {}{} ({})", join(left, ", "),
                                        count > kShown ? fmt::format(" and {} more", count - kShown) : "",
                                        reason));
  }
}

// What is written is quantised, under its last names.
void plan_quantize(PackPlan& plan, const Input& input, const PackOptions& options,
                   std::vector<PackedTensor>& tensors, std::vector<MadeTensors>& made) {
  if (plan.kind == OutputKind::kNpy) throw usage("--quantize writes no .npy file");
  QuantizeContext context{input, options.names, {}};
  for (const TiedName& pair : plan.dropped)
    context.tied.push_back(rename_all(options.selection.rename, pair.dropped));
  for (const TiedName& pair :
       Ties(input.config, input.weights).names_to_untie().value_or(std::vector<TiedName>()))
    context.tied.push_back(rename_all(options.selection.rename, pair.dropped));
  plan.quantize = quantise_tensors(tensors, *options.quantize, context, made);
  plan.recipe += quantize_recipe(*options.quantize);
  for (std::string& warning : unmatched_keeps(*plan.quantize, options.quantize->keep))
    plan.warnings.push_back(std::move(warning));
}

// What repeats another tensor only as far as anybody looked is compared with it when that one is written.
void compare_assumed(const PackPlan& plan, const Input& input, std::vector<PackedTensor>& tensors,
                     std::vector<MadeTensors>& made) {
  for (const TiedName& pair : plan.dropped) {
    if (!pair.is_assumed) continue;
    const auto kept = std::find_if(tensors.begin(), tensors.end(), [&](const PackedTensor& tensor) {
      return tensor.input->name == pair.kept;
    });
    const auto dropped = std::find_if(input.weights.tensors.begin(), input.weights.tensors.end(),
                                      [&](const Tensor& tensor) { return tensor.name == pair.dropped; });
    if (kept == tensors.end() || dropped == input.weights.tensors.end()) continue;
    made.push_back(std::make_shared<const std::vector<Tensor>>(
        std::vector<Tensor>{compared_as_read(*kept->input, *dropped)}));
    if (kept->made_of.empty()) kept->made_of.push_back(kept->input);
    kept->input = &made.back()->front();
  }
}

// The tensors to be written, in the order of work: what is chosen, under the names of the model's class, cast, and
// renamed as the user says. Adapters are merged before (model/prepare.h); their names are those of the base.
std::vector<PackedTensor> plan_tensors(PackPlan& plan, const Input& input, const Prepared& prepared,
                                       const PackOptions& options, std::vector<MadeTensors>& made) {
  const Selection& selection = options.selection;
  // A repeated tensor may be dropped only if the one that it repeats is written.
  std::copy_if(prepared.tied.begin(), prepared.tied.end(), std::back_inserter(plan.dropped),
               [&](const TiedName& pair) { return is_selected(selection, pair.kept, prepared.listed); });
  std::vector<std::string> dropped;
  for (const TiedName& pair : plan.dropped) dropped.push_back(pair.dropped);
  std::sort(dropped.begin(), dropped.end());
  std::vector<PackedTensor> tensors =
      choose_tensors(input.weights.tensors, selection, dropped, prepared.listed);
  require_writable_tensors(tensors, input);
  compare_assumed(plan, input, tensors, made);
  if (plan.kind != OutputKind::kNpy || options.names.demands()) {  // a .npy file holds no name
    MadeTensors named;
    plan.names = in_file(input.name, [&] { return name_tensors(tensors, input, options.names, named); });
    if (named) made.push_back(std::move(named));
    if (plan.names && !plan.names->line.empty()) plan.announced.push_back(plan.names->line);
  }
  cast_tensors(tensors, selection, prepared.listed);
  refuse_casts_of_quantised(input, selection, tensors);
  std::vector<std::string> names = dropped;
  for (const PackedTensor& tensor : tensors) names.push_back(tensor.output.name);
  for (std::string& warning : unmatched_renames(std::move(names), selection.rename))
    plan.warnings.push_back(std::move(warning));
  rename_tensors(tensors, selection.rename);
  plan.dtype = config_dtype(tensors, selection);
  if (options.quantize) plan_quantize(plan, input, options, tensors, made);
  return tensors;
}

void plan_weights(PackPlan& plan, const Input& input, const Prepared& prepared, const PackOptions& options) {
  require_found(input, prepared, options.selection);
  std::vector<MadeTensors> made;
  std::vector<PackedTensor> tensors = plan_tensors(plan, input, prepared, options, made);
  if (plan.kind == OutputKind::kNpy) {
    plan_npy(plan, input.weights, std::move(tensors));
  } else if (plan.kind == OutputKind::kFolder) {
    plan_shards(plan, std::move(tensors), options, input, prepared);
    plan_config(plan, input, prepared);
  } else {
    plan.weights.push_back(
        make_output("", input.weights, std::move(tensors), planned_metadata(plan, options, input, prepared)));
  }
  for (WeightsOutput& file : plan.weights) file.made = made;
  const auto is_config = [](const TextOutput& text) { return text.name == "config.json"; };
  if (plan.quantize && std::none_of(plan.texts.begin(), plan.texts.end(), is_config))
    plan.notes.push_back(
        "no config.json is written: loaders need the quantization_config that --json shows in theirs");
}

std::uint64_t planned_bytes(const PackPlan& plan) {
  std::uint64_t bytes = 0;
  for (const WeightsOutput& file : plan.weights) bytes += file.size;
  for (const TextOutput& text : plan.texts) bytes += text.text.size();
  for (const GatheredFile& file : plan.files) {
    const bool written_as_text =
        std::any_of(plan.texts.begin(), plan.texts.end(),
                    [&file](const TextOutput& text) { return text.name == file.name; });
    if (file.taken && !written_as_text) bytes += file.size;
  }
  return bytes;
}

void note_plain(PackPlan& plan, const PlainChange& change, const std::string& name) {
  plan.plain.emplace_back("", change.facts);
  plan.recipe = change.recipe;
  plan.announced.push_back(name.empty() ? change.line : escape_name(name) + " " + change.line);
  if (!change.advice.empty()) plan.announced.push_back(change.advice);
}

// Files that say how weights were stored are wrong beside plain ones.
void leave_settings(PackPlan& plan) {
  for (GatheredFile& file : plan.files) {
    if (!file.taken || !is_quantisation_file(file.name)) continue;
    file.taken = false;
    file.reason = "describes the quantised weights";
    plan.notes.push_back(fmt::format("{} is left behind: it {}", escape_name(file.name), file.reason));
  }
}

// The plan for one folder or file, without the components that it names.
PackPlan plan_one(const Input& input, const Prepared& prepared, const PackOptions& options, OutputKind kind,
                  GatherScope scope) {
  PackPlan plan;
  plan.kind = kind;
  plan.notes = prepared.notes;
  if (prepared.plain) note_plain(plan, *prepared.plain, scope.is_component ? "" : input.name);
  if (kind == OutputKind::kFolder) {
    scope.weights_only = options.weights_only;
    plan.files = gather_files(input, scope, plan.notes);
    if (prepared.plain) leave_settings(plan);
    apply_options(plan, options);
    warn_of_left_weights(plan);
    require_working_adapter(plan, input);
  }
  if (input.has_weights) plan_weights(plan, input, prepared, options);
  note_ranks(plan, input, options);
  for (const TiedName& pair : plan.dropped) {
    plan.notes.push_back(fmt::format("'{}' repeats '{}' and {}: written once", escape_name(pair.dropped),
                                     escape_name(pair.kept),
                                     pair.same_storage ? "shares its storage" : "config.json ties them"));
  }
  plan.total_bytes = planned_bytes(plan);
  return plan;
}

// Adds the plan of a component: all of its files lie in `folder`.
void add_component(PackPlan& plan, const std::string& folder, PackPlan part) {
  const std::string prefix = folder + "/";
  const std::string place = escape_name(folder) + ": ";
  for (WeightsOutput& file : part.weights) {
    file.name.insert(0, prefix);
    plan.weights.push_back(std::move(file));
  }
  for (TextOutput& text : part.texts) plan.texts.push_back({prefix + text.name, std::move(text.text)});
  for (GatheredFile& file : part.files) {
    file.name.insert(0, prefix);
    plan.files.push_back(std::move(file));
  }
  for (TiedName& pair : part.dropped) {
    pair.dropped.insert(0, prefix);
    pair.kept.insert(0, prefix);
    plan.dropped.push_back(std::move(pair));
  }
  for (const std::string& note : part.notes) plan.notes.push_back(place + note);
  for (const std::string& warning : part.warnings) plan.warnings.push_back(place + warning);
  for (const std::string& line : part.announced) plan.announced.push_back(place + line);
  for (const auto& [path, facts] : part.plain) plan.plain.emplace_back(folder, facts);
  if (part.names) plan.component_names.emplace_back(folder, std::move(*part.names));
  plan.recipe += part.recipe;
  plan.total_bytes += part.total_bytes;
}

// What is asked for the top model alone stays there.
PackOptions component_options(const PackOptions& options, const Component& component) {
  PackOptions own;
  own.selection.dtype = options.selection.dtype;
  own.selection.dtype_of = options.selection.dtype_of;
  own.max_shard_size = component.reads_index ? options.max_shard_size : 0;
  own.metadata = options.metadata;
  own.weights_only = options.weights_only;
  // A folder without a class of transformers (Dense, a UNet) has nothing to publish.
  const ModelConfig* const config = component.input.class_config();
  const bool has_class = config != nullptr && !config->architectures.empty();
  own.names.mode = has_class ? options.names.mode : NamesOptions::Mode::kAsIs;
  return own;
}

// The folders of other components below one; `path` is empty for the top.
GatherScope scope_of(const std::vector<Component>& components, const std::string& path) {
  GatherScope scope;
  const std::string prefix = path.empty() ? "" : path + "/";
  for (const Component& component : components) {
    if (component.name.path == path || !component.name.path.starts_with(prefix)) continue;
    scope.apart.push_back(component.name.path.substr(prefix.size()));
    scope.named_by = component.name.file;
  }
  scope.is_component = !path.empty();
  return scope;
}

// A tensor of a component also goes by the name with the folder, as st-inspect lists it.
Prepared with_folder_names(Prepared prepared, const Component& component) {
  for (const Tensor& tensor : component.input.weights.tensors) {
    std::string& listed = prepared.listed.try_emplace(tensor.name, tensor.name).first->second;
    listed.insert(0, component.name.path + "/");
  }
  return prepared;
}

// Rules that change nothing are usually misspelled. Only casts look at components.
void warn_of_unmatched(PackPlan& plan, const Input& input, const Prepared& prepared,
                       const Selection& selection) {
  if (selection.select.empty() && selection.exclude.empty() && selection.dtype_of.empty()) return;
  std::vector<std::string> names;
  for (const Tensor& tensor : input.weights.tensors) names.push_back(tensor.name);
  if (input.weights.from_ranks)
    names.insert(names.end(), input.weights.from_ranks->lost.begin(), input.weights.from_ranks->lost.end());
  Selection own = selection;
  own.dtype_of.clear();
  const auto warn = [&](const Selection& rules) {
    for (std::string& warning : unmatched_globs(names, rules, prepared.listed))
      plan.warnings.push_back(std::move(warning));
  };
  warn(own);
  for (const Component& component : input.components) {
    for (const Tensor& tensor : component.input.weights.tensors) {
      names.push_back(tensor.name);
      names.push_back(component.name.path + "/" + tensor.name);
    }
  }
  Selection casts;
  casts.dtype_of = selection.dtype_of;
  warn(casts);
}

}  // namespace

std::string WeightsOutput::label(const PackedTensor& tensor) const {
  return name.substr(0, name.rfind('/') + 1) + tensor.output.name;
}

PackPlan plan_pack(const Input& input, const Prepared& prepared, const PackOptions& options, OutputKind kind,
                   const std::vector<Prepared>& components) {
  PackPlan plan = plan_one(input, prepared, options, kind, scope_of(input.components, ""));
  warn_of_unmatched(plan, input, prepared, options.selection);
  for (std::size_t i = 0; i < input.components.size(); ++i) {
    const Component& component = input.components[i];
    const std::string& path = component.name.path;
    if (kind != OutputKind::kFolder) {
      if (component.input.has_weights)
        plan.warnings.push_back(
            fmt::format("weights are left behind: {}/ (only a folder as output has room for them)", path));
      continue;
    }
    const PackOptions own = component_options(options, component);
    PackPlan part = plan_one(component.input, with_folder_names(components.at(i), component), own, kind,
                             scope_of(input.components, path));
    const bool above = options.max_shard_size != 0 && !part.weights.empty() &&
                       part.weights.front().size > options.max_shard_size;
    if (above && !component.reads_index)
      part.notes.push_back("stays one file: sentence-transformers reads no index of this module");
    add_component(plan, path, std::move(part));
  }
  return plan;
}

}  // namespace mu
