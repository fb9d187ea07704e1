// SPDX-License-Identifier: Apache-2.0
#include "model/input.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/pickled.h"
#include "model/sharded.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/dcp.h"
#include "weights/npy.h"
#include "weights/zero.h"

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

Weights open_choice(const Folder& folder, const WeightsChoice& choice) {
  if (choice.is_index) return open_sharded(folder.path_of(choice.names.front()));
  std::vector<std::string> paths;
  for (const std::string& name : choice.names) paths.push_back(folder.path_of(name));
  return open_files(paths);
}

// Whether a loader would find weights in it.
bool has_whole_weights(const Folder& folder) {
  return std::any_of(folder.files.begin(), folder.files.end(), [](const FolderFile& file) {
    return !file.is_folder && (file.role == FileRole::kWeights || file.role == FileRole::kWeightsIndex ||
                               file.role == FileRole::kTorchWeights || file.role == FileRole::kOtherWeights);
  });
}

// The folder with the files that belong to shares: the one given, or the one above when it has a config and
// this has none.
std::string companion_folder(const std::string& path) {
  const auto has_config = [](const std::string& folder) {
    return exists(join_path(folder, "config.json")) || exists(join_path(folder, "adapter_config.json"));
  };
  std::string at = path;
  for (int up = 0; up < 3; ++up) {
    if (has_config(at)) return at;
    const std::string name(base_name(at));
    if (name.empty() || name == "." || name == "..") break;
    at = parent_of(at);
  }
  return path;
}

void open_shares(Input& input, const ShardedState& state, const FolderOptions& options) {
  input.weights = open_sharded_state(state);
  const std::string companions = options.base.empty() ? companion_folder(input.folder->path) : options.base;
  if (companions != input.folder->path) input.folder = scan_folder(companions);
  const bool adapter = input.folder->has("adapter_config.json") || holds_only_adapter(input.weights);
  input.choice = {{std::string(base_name(state.path))}, false, adapter, adapter ? "adapter_model" : "model"};
  if (!adapter) return;
  for (std::string& note : keep_adapter_tensors(input.weights))
    input.weights.notes.push_back(std::move(note));
  if (input.weights.tensors.empty())
    throw malformed("it holds no adapter, though adapter_config.json lies beside")
        .in_file(escape_name(state.path));
}

Input open_folder(const std::string& path, const FolderOptions& options) {
  Input input;
  input.name = path;
  input.folder = scan_folder(path);
  const bool itself = is_dcp_folder(path) || is_zero_folder(path);
  const bool whole = !itself && has_whole_weights(*input.folder);
  std::optional<ShardedState> shares;
  if (itself || !whole || options.from_shares) shares = find_sharded_state(path);
  if (options.from_shares && !shares)
    throw malformed("no shares of ranks lie in this folder").in_file(escape_name(path));
  if (!shares) {
    input.choice = choose_weights(*input.folder);
    input.weights = open_choice(*input.folder, input.choice);
    // ZeRO stage 3 leaves names without values where weights should be.
    if (are_placeholders(input.weights)) shares = find_sharded_state(path);
    if (shares) {
      input.weights = {};
      open_shares(input, *shares, options);
      input.weights.notes.emplace_back(
          "the weights file beside the shares holds placeholders of ZeRO stage 3 and is not used");
    }
  } else {
    open_shares(input, *shares, options);
  }
  const Folder& folder = *input.folder;
  input.config = read_json(folder, "config.json", input.folder_findings, parse_model_config);
  input.adapter = read_json(folder, "adapter_config.json", input.folder_findings, parse_adapter_config);
  input.state = read_json(folder, "trainer_state.json", input.folder_findings, parse_trainer_state);
  return input;
}

// One array under another name than the file's.
Weights open_array(const std::string& path, const std::string& name) {
  Weights weights;
  add_npy(weights, InputFile(path), name);
  return weights;
}

}  // namespace

Input open_input(const std::string& path, StreamData stdin_data, const FolderOptions& options) {
  if (path != "-" && is_folder(path)) return open_folder(path, options);
  Input input;
  input.name = path;
  input.choice = {{path}, path.ends_with(".json"), false, "model"};
  if (path == "-") {
    input.weights = open_stdin(stdin_data);
  } else {
    input.weights = input.choice.is_index ? open_sharded(path) : open_weights(path);
  }
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
  if (paths.size() == 1 && arrays.empty()) return open_input(paths.front(), stdin_data, options);
  Input input;
  input.name = operands.front();
  input.choice = {paths, false, false, "model"};
  input.weights = open_files(paths);
  for (const auto& [name, path] : arrays) append_weights(input.weights, open_array(path, name));
  return input;
}

void require_sound(const Input& input) {
  input.weights.findings.throw_if_unloadable();
  for (const Finding& finding : input.folder_findings.list()) {
    if (finding.rule == "MD-JSON") throw malformed(finding.message).in_file(escape_name(finding.file));
  }
  if (!input.weights.index || input.weights.findings.count("IX-MISSING") == 0) return;
  const TensorsByName names = tensors_by_name(input.weights);
  for (const auto& [tensor, shard] : input.weights.index->weight_map) {
    if (names.contains(tensor)) continue;
    throw malformed(fmt::format("tensor '{}' should be in {} but is in no shard [IX-MISSING]",
                                escape_name(tensor), escape_name(shard)))
        .in_file(escape_name(input.weights.index->path));
  }
}

void require_state_dicts(const Input& input, bool salvage) {
  if (are_placeholders(input.weights))
    throw malformed(
        "every tensor is empty: these are placeholders of ZeRO stage 3, the weights lie in the ranks' shares")
        .in_file(escape_name(input.name))
        .hint("name the checkpoint folder that holds them (global_step…)");
  for (const WeightsFile& file : input.weights.files) {
    if (!file.object) continue;
    if (!salvage && file.object->worst() == Verdict::kDangerous) {
      throw malformed("its pickle names what is dangerous to load")
          .in_file(escape_name(file.name))
          .hint(
              "st-inspect --check lists it; --salvage takes the tensors all the same, without running "
              "anything");
    }
    if (file.object->is_state_dict && file.object->container != TorchContainer::kScript) continue;
    const PickledKind kind = pickled_kind(*file.object);
    Error error = malformed(fmt::format("not weights: {}", pickled_kind_name(kind)));
    if (kind == PickledKind::kModule) error.hint("save the module's state_dict()");
    throw error.in_file(escape_name(file.name));
  }
}

std::vector<std::string> left_out_notes(const Input& input) {
  std::vector<std::string> notes = input.weights.notes;
  if (!input.weights.origin.empty()) notes.insert(notes.begin(), "made whole from " + input.weights.origin);
  for (const WeightsFile& file : input.weights.files) {
    if (!file.object) continue;
    if (!file.object->state_dict_key.empty())
      notes.push_back(fmt::format("the weights are those under '{}' of {}",
                                  escape_name(file.object->state_dict_key),
                                  escape_name(base_name(file.name))));
    const std::uint64_t more = file.object->left_out_count - file.object->left_out.size();
    if (!file.object->left_out.empty())
      notes.push_back("left out, no tensors: " + join(file.object->left_out, ", ") +
                      (more > 0 ? fmt::format(" and {} more", group_digits(more)) : ""));
  }
  return notes;
}

}  // namespace mu
