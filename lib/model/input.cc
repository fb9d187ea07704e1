// SPDX-License-Identifier: Apache-2.0
// Opening what the user named. A file, an index and standard input go to weights/open. A folder takes more
// decisions, in this order: which files lie in it (folder.h); whether whole weights are among them or only
// those of ranks (rank_state.h), which are then put together; which of several sets a loader would take; and
// which folder has the config and tokenizer that belong to them, since files of ranks often lie some levels
// below. Configs and the trainer state are read last, and parameters that no file of ranks holds are looked
// up under a tied name or in the base model.
//
// Only headers and small JSON files are read here. What is wrong with weights is a finding, which st-inspect
// lists; programs that write call require_sound and require_state_dicts first (input_checks.cc).
#include "model/input.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "model/adapter_names.h"
#include "model/placeholders.h"
#include "model/rank_state.h"
#include "model/tied.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/npy.h"
#include "weights/open/open.h"
#include "weights/ranks/dcp.h"
#include "weights/ranks/fsdp_files.h"
#include "weights/ranks/zero.h"
#include "weights/ranks/zero_files.h"
#include "weights/torch/object.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxJsonFile = 512U << 20;  // bytes; trainer states of long runs reach tens of MB

// Parses a JSON file of the folder when it is there. One that is broken is a finding, not the end.
template <typename Parse>
auto read_json(const Folder& folder, std::string_view name, Findings& findings, Parse parse)
    -> std::optional<decltype(parse(std::string()))> {
  if (!folder.has(name)) return std::nullopt;
  try {
    return parse(read_whole_file(folder.path_of(name), kMaxJsonFile));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;
    findings.add({"MD-JSON", Level::kHub, false, error.what(), folder.path_of(name)});
    return std::nullopt;
  }
}

Weights open_choice(const Folder& folder, const WeightsChoice& choice, const std::string& key = {}) {
  if (choice.is_index) return open_sharded(folder.path_of(choice.names.front()), key);
  std::vector<std::string> paths;
  for (const std::string& name : choice.names) paths.push_back(folder.path_of(name));
  return open_files(paths, key);
}

bool has_config(const std::string& folder) {
  return exists(join_path(folder, "config.json")) || exists(join_path(folder, "adapter_config.json"));
}

// The folder with the files that belong to the ranks' files: the one given, or one of the three above when it
// has a config and those below have none.
std::string companion_folder(const std::string& path) {
  std::string at = tidy_path(path);
  for (int up = 0; up <= 3; ++up) {
    if (has_config(at)) return up == 0 ? path : at;
    if (at.empty() || at == "/") break;
    at = tidy_path(parent_of(at));
  }
  return path;
}

Error key_means_nothing(std::string_view file) {
  return usage("--key goes with torch files and torch distributed checkpoints").in_file(escape_name(file));
}

// The folder that stands in for what the input lacks.
Folder scan_base(const std::string& path) {
  Folder folder = scan_folder(path);
  const bool adapter = folder.has("adapter_config.json") || folder.has("adapter_model.safetensors") ||
                       folder.has("adapter_model.bin");
  if (adapter && !folder.has("config.json"))
    throw malformed("is an adapter, not a base model").in_file(escape_name(path));
  return folder;
}

// The same for pickles of FSDP's ranks. verl keeps config and tokenizer in a folder "huggingface" beside them.
std::string fsdp_companions(const std::string& ranks) {
  const std::string beside = join_path(ranks, "huggingface");
  if (exists(join_path(ranks, "adapter_config.json"))) return ranks;
  return exists(join_path(beside, "config.json")) ? beside : companion_folder(ranks);
}

// Only beside the pickles is an adapter's config that of the run: other ones below or above them belong to what other
// programs made of it (verl's merger writes one with a lora_alpha of 0).
void drop_other_adapters(Input& input, const std::string& ranks) {
  std::erase_if(input.folder->files, [&](const FolderFile& file) {
    return file.name == "lora_adapter" || (file.name == "adapter_config.json" && input.folder->path != ranks);
  });
  input.weights.from_ranks->lacks_alpha =
      !input.folder->has("adapter_config.json") &&
      std::any_of(input.weights.tensors.begin(), input.weights.tensors.end(), [](const Tensor& tensor) {
        return parse_adapter_name(tensor.name).piece == AdapterPiece::kFactor;
      });
}

void add_rank_weights(Input& input, const RankState& state, const FolderOptions& options) {
  if (!options.key.empty() && state.kind != RankState::Kind::kDcp) throw key_means_nothing(state.path);
  input.weights = open_rank_state(state, options.key, options.everything);
  const bool is_fsdp = state.kind == RankState::Kind::kFsdp;
  const std::string own = is_fsdp ? fsdp_companions(state.path) : companion_folder(input.folder->path);
  // A base model knows nothing of the adapter.
  const bool adapter_here = exists(join_path(is_fsdp ? state.path : own, "adapter_config.json"));
  const std::string companions = options.base.empty() || adapter_here ? own : options.base;
  if (companions != input.folder->path)
    input.folder = companions == options.base ? scan_base(companions) : scan_folder(companions);
  if (is_fsdp) drop_other_adapters(input, state.path);
  const bool adapter =
      !options.everything && (input.folder->has("adapter_config.json") || holds_only_adapter(input.weights));
  input.choice = {{std::string(base_name(state.path))}, false, adapter, adapter ? "adapter_model" : "model"};
  if (!adapter) return;
  input.weights.from_ranks->lost.clear();  // of the base model
  Findings reported_later;
  const std::optional<AdapterConfig> config =
      read_json(*input.folder, "adapter_config.json", reported_later, parse_adapter_config);
  in_file(state.path, [&] {
    const AdapterChoice kept = keep_adapter(input.weights, options.adapter, config ? config->bias : "none");
    if (kept.base_tensors > 0)
      input.weights.from_ranks->notes.push_back(fmt::format(
          "{} of the base model left out: this is a LoRA run", plural(kept.base_tensors, "tensor")));
  });
}

std::optional<RankState> rank_state_of(const std::string& path, const FolderOptions& options) {
  using From = FolderOptions::From;
  const std::optional<RankState> ranks = find_rank_state(path);
  if (options.from == From::kAny) return ranks;
  const bool zero = options.from == From::kZero;
  const bool fsdp = ranks && ranks->kind == RankState::Kind::kFsdp;
  if (fsdp) list_fsdp_files(ranks->path);  // of flat parameters it says more than what follows
  if (!ranks || fsdp || (ranks->kind == RankState::Kind::kZero) != zero)
    throw malformed(fmt::format("this folder has no rank files of {}",
                                zero ? "DeepSpeed" : "a torch distributed checkpoint"))
        .in_file(escape_name(path));
  return ranks;
}

// A key names a place in every file, or in none.
void require_key_used(const Input& input, const std::string& key) {
  if (key.empty()) return;
  for (const WeightsFile& file : input.weights.files) {
    if (!file.object) throw key_means_nothing(file.name);
    const std::vector<std::string>& others = file.object->other_state_dicts;
    if (!file.object->is_state_dict && others == std::vector<std::string>{""})
      throw usage("its state dict is the root, where --key names nothing").in_file(escape_name(file.name));
  }
}

// Opens the weights and finds the folder that goes with them.
void open_folder_weights(Input& input, const FolderOptions& options) {
  const std::string& path = input.name;
  const bool itself = is_dcp_folder(path) || is_zero_folder(path);
  const bool whole = !itself && has_whole_weights(*input.folder);
  if (itself || !whole || options.from != FolderOptions::From::kAny) {
    if (const std::optional<RankState> ranks = rank_state_of(path, options))
      return add_rank_weights(input, *ranks, options);
  }
  input.choice = choose_weights(*input.folder);
  input.weights = open_choice(*input.folder, input.choice, options.key);
  // ZeRO stage 3 leaves names without values where weights should be.
  if (Placeholders(input.weights.tensors).found()) {
    if (const std::optional<RankState> ranks = find_rank_state(path)) {
      add_rank_weights(input, *ranks, options);
      input.weights.from_ranks->notes.emplace_back(
          "the weights file beside the ranks' files holds placeholders of ZeRO stage 3 and is not used");
      return;
    }
  }
  require_key_used(input, options.key);
  if (!options.base.empty()) input.folder = scan_base(options.base);
}

// What the JSON files of `input` say of the tensors.
std::optional<QuantSettings> read_quant_settings(Input& input, const std::vector<Tensor>& tensors) {
  if (input.config) {
    if (std::optional<QuantSettings> settings = quant_settings(input.config->root)) return settings;
  }
  const auto read = [&input](std::string_view name, const auto& parse) {
    return read_json(*input.folder, name, input.folder_findings, parse).value_or(std::nullopt);
  };
  const auto modelopt = [](const std::string& text) { return modelopt_settings(parse_json(text).root); };
  if (std::optional<QuantSettings> settings = read("hf_quant_config.json", modelopt)) return settings;
  // Such a file may also have been left beside weights that somebody made plain.
  if (std::none_of(tensors.begin(), tensors.end(),
                   [](const Tensor& tensor) { return tensor.name.ends_with(".qweight"); }))
    return std::nullopt;
  for (const std::string_view name : kOlderQuantFiles) {
    const auto older = [name](const std::string& text) { return older_quant_settings(name, text); };
    if (std::optional<QuantSettings> settings = read(name, older)) return settings;
  }
  return std::nullopt;
}

// Reads the small files beside the weights. The trainer state may lie in another folder.
void read_companions(Input& input, const Folder& with_state) {
  const Folder& folder = *input.folder;
  input.config = read_json(folder, "config.json", input.folder_findings, parse_model_config);
  input.adapter = read_json(folder, "adapter_config.json", input.folder_findings, parse_adapter_config);
  input.state = read_json(with_state, "trainer_state.json", input.folder_findings, parse_trainer_state);
  input.quantization = read_quant_settings(input, input.weights.tensors);
}

Component open_component(const Folder& above, const ComponentName& name) {
  Component component{name, {}};
  Input& input = component.input;
  input.name = above.path_of(name.path);
  input.folder = scan_folder(input.name);
  const std::vector<FolderFile>& files = input.folder->files;
  input.has_weights = std::any_of(files.begin(), files.end(), [](const FolderFile& file) {
    return !file.is_folder && (file.role == FileRole::kWeights || file.role == FileRole::kWeightsIndex ||
                               file.role == FileRole::kTorchWeights);
  });
  if (input.has_weights) {
    input.choice = choose_weights(*input.folder);
    input.weights = open_choice(*input.folder, input.choice);
    if (!input.choice.is_adapter) input.choice.stem = component_stem(input.choice);
  }
  read_companions(input, *input.folder);
  if (std::string file = module_file(name.type); !file.empty()) input.code.push_back(std::move(file));
  // Modules of sentence-transformers read one file; only those that wrap a Transformers model read an index.
  component.reads_index =
      name.file == "model_index.json" || (input.config && !input.config->model_type.empty());
  return component;
}

// One list of the tensors of all components.
void merge_components(Input& input, std::vector<Component> components) {
  for (Component& component : components) {
    for (Tensor& tensor : component.input.weights.tensors)
      tensor.name = component.name.path + "/" + tensor.name;
    append_weights(input.weights, std::move(component.input.weights));
  }
}

std::vector<Component> open_components(const Folder& folder, const ComponentNames& names) {
  std::vector<Component> components;
  for (const ComponentName& name : names.folders) {
    if (is_folder(folder.path_of(name.path))) components.push_back(open_component(folder, name));
  }
  return components;
}

void add_components(Input& input, const ComponentNames& names, FolderOptions::Components wanted) {
  for (const ComponentName& name : names.folders) {
    if (!may_be_absent(name) && !is_folder(input.folder->path_of(name.path)))
      input.folder_findings.add({"MD-COMPONENT", Level::kHub, false,
                                 fmt::format("{} names the folder {}, which is not there",
                                             escape_name(name.file), escape_name(name.path)),
                                 input.folder->path});
  }
  input.code = names.code;
  if (names.has_top && wanted == FolderOptions::Components::kSkipped) return;
  std::vector<Component> components = open_components(*input.folder, names);
  const bool any = std::any_of(components.begin(), components.end(),
                               [](const Component& component) { return component.input.has_weights; });
  if (!names.has_top && !any)
    throw malformed(fmt::format("there are no weights in the folders that {} names", names.file))
        .in_file(escape_name(input.name));
  if (names.has_top || wanted == FolderOptions::Components::kApart) {
    input.components = std::move(components);
  } else {
    merge_components(input, std::move(components));
  }
}

// Takes the values of lost parameters from where they can be found: the name that the config ties them to,
// the base model in a folder (empty: none). What stays lost is a finding (ZR-LOST).
void find_lost_parameters(Input& input, const std::string& base) {
  if (!input.weights.from_ranks) return;
  std::vector<std::string>&lost = input.weights.from_ranks->lost, &notes = input.weights.from_ranks->notes;
  if (!lost.empty() && input.config) {
    // DeepSpeed before 0.9.0 kept no record of shared parameters.
    std::vector<Tensor> tied;
    const TensorsByName names = tensors_by_name(input.weights);
    const Ties ties(input.config, input.weights);
    std::erase_if(lost, [&](const std::string& name) {
      const std::string kept = ties.kept_name_of(name);
      if (kept.empty()) return false;
      tied.push_back(*names.at(kept));
      tied.back().name = name;
      notes.push_back(fmt::format(
          "'{}' is taken to be '{}' because config.json ties them; the checkpoint does not record it",
          escape_name(name), escape_name(kept)));
      return true;
    });
    input.weights.tensors.insert(input.weights.tensors.end(), tied.begin(), tied.end());
  }
  if (!lost.empty() && !base.empty()) {
    const Folder folder = scan_base(base);
    Weights weights = open_choice(folder, choose_weights(folder));
    std::erase_if(weights.tensors, [&lost](const Tensor& tensor) {
      return !std::binary_search(lost.begin(), lost.end(), tensor.name);
    });
    const TensorsByName found = tensors_by_name(weights);
    std::erase_if(lost, [&found](const std::string& name) { return found.contains(name); });
    if (!weights.tensors.empty())
      notes.push_back(fmt::format("{} taken from {}: the checkpoint has no values of them",
                                  plural(weights.tensors.size(), "tensor"), escape_name(base)));
    append_weights(input.weights, std::move(weights));
  }
  for (const std::string& name : lost)
    input.weights.findings.add({"ZR-LOST", Level::kSpec, false,
                                fmt::format("the values of '{}' are in no file", escape_name(name)),
                                input.name});
}

Input open_folder(const std::string& path, const FolderOptions& options) {
  Input input;
  input.name = path;
  input.folder = scan_folder(path);
  const Folder own = *input.folder;
  ComponentNames names = read_component_names(own);
  if (!names.has_top) {
    if (!options.is_plain() || !options.key.empty())
      throw usage(fmt::format("--from, --base and --key need a model in the folder itself, but {} names only "
                              "folders below it",
                              names.file))
          .in_file(escape_name(path));
    input.has_weights = false;
    read_companions(input, own);
    add_components(input, names, options.components);
    return input;
  }
  open_folder_weights(input, options);
  read_companions(input, own.has("trainer_state.json") ? own : *input.folder);
  find_lost_parameters(input, options.base);
  // Components belong to the files beside the weights.
  if (input.folder->path != own.path) {
    if (!names.folders.empty())
      input.folder_findings.add({"MD-COMPONENT", Level::kHub, false,
                                 fmt::format("the folders that {} names are left out: the files beside the "
                                             "weights come from {}",
                                             names.file, escape_name(input.folder->path)),
                                 own.path});
    names = read_component_names(*input.folder);
  }
  if (names.has_top) add_components(input, names, options.components);
  return input;
}

// What the configs beside files say that were named one by one: scales may lie in files that were not. A config
// that can't be read is not part of the input, so it says nothing.
void read_beside(Input& input, const std::vector<std::string>& paths) {
  std::set<std::string> folders;
  for (const std::string& path : paths) {
    if (path != "-") folders.insert(parent_of(path));
  }
  for (const std::string& path : folders) {
    Input beside;
    beside.folder = Folder{path, {}};
    std::vector<std::string_view> names = {"config.json", "hf_quant_config.json"};
    names.insert(names.end(), kOlderQuantFiles.begin(), kOlderQuantFiles.end());
    for (const std::string_view name : names) {
      if (exists(join_path(path, name)))
        beside.folder->files.push_back({std::string(name), false, 0, FileRole::kConfig});
    }
    beside.config = read_json(*beside.folder, "config.json", beside.folder_findings, parse_model_config);
    if (!input.quantization) input.quantization = read_quant_settings(beside, input.weights.tensors);
    if (folders.size() == 1) input.config_beside = std::move(beside.config);
  }
}

void refuse_folder_options(const FolderOptions& options) {
  if (!options.is_plain()) throw usage("--from and --base go with one folder as input");
}

// One array under another name than the file's.
Weights open_array(const std::string& path, const std::string& name) {
  Weights weights;
  add_npy(weights, InputFile(path), name);
  return weights;
}

}  // namespace

bool FolderOptions::is_plain() const {
  return from == From::kAny && base.empty();
}

Input open_input(const std::string& path, StreamData stdin_data, const FolderOptions& options) {
  if (path != "-" && is_folder(path)) return open_folder(path, options);
  refuse_folder_options(options);
  Input input;
  input.name = path;
  input.choice = {{path}, path.ends_with(".json"), false, "model"};
  if (path == "-") {
    input.weights = open_stdin(stdin_data, options.key);
  } else {
    input.weights = input.choice.is_index ? open_sharded(path, options.key) : open_weights(path, options.key);
  }
  require_key_used(input, options.key);
  if (options.beside || !is_far_name(path)) read_beside(input, {path});
  return input;
}

Input open_inputs(const std::vector<std::string>& operands, StreamData stdin_data,
                  const FolderOptions& options) {
  std::vector<std::string> paths;
  std::vector<std::pair<std::string, std::string>> arrays;
  for (const std::string& operand : operands) {
    const std::size_t equals = operand.find('=');
    if (equals != std::string::npos && operand.ends_with(".npy") && !exists(operand)) {
      arrays.emplace_back(operand.substr(0, equals), operand.substr(equals + 1));
    } else {
      paths.push_back(operand);
    }
  }
  if (paths.size() == 1 && arrays.empty()) {
    FolderOptions one = options;
    one.beside = true;
    return open_input(paths.front(), stdin_data, one);
  }
  refuse_folder_options(options);
  Input input;
  input.name = operands.front();
  input.choice = {paths, false, false, "model"};
  input.weights = open_files(paths, options.key);
  read_beside(input, paths);
  for (const auto& [name, path] : arrays) append_weights(input.weights, open_array(path, name));
  require_key_used(input, options.key);
  return input;
}

}  // namespace mu
