// SPDX-License-Identifier: Apache-2.0
// What a user names on the command line, opened: a weights file, an index, a folder, or standard input.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/components.h"
#include "model/config.h"
#include "model/folder.h"
#include "model/quantised.h"
#include "model/trainer_state.h"
#include "weights/open/open.h"
#include "weights/weights.h"

namespace mu {

struct Component;

struct Input {
  std::string name;  // as given
  Weights weights;
  // Of a folder only:
  std::optional<Folder> folder;
  WeightsChoice choice;
  std::optional<ModelConfig> config;
  std::optional<AdapterConfig> adapter;
  std::optional<TrainerState> state;
  std::optional<ModelConfig> config_beside;   // of files: the config.json in the folder of them all
  std::optional<QuantSettings> quantization;  // the configs call the weights quantised; of files, too
  // JSON files of the folder that could not be read (MD-JSON), folders that are named but not there
  // (MD-COMPONENT); level kHub.
  Findings folder_findings;
  bool has_weights = true;            // false: only components have some
  std::vector<Component> components;  // see FolderOptions
  std::vector<std::string> code{};    // Python files that modules.json or model_index.json needs

  [[nodiscard]] bool is_adapter() const { return choice.is_adapter; }
  // The config that says of which class the tensors are; null if there is none.
  [[nodiscard]] const ModelConfig* class_config() const {
    return config ? &*config : config_beside ? &*config_beside : nullptr;
  }
};

// A folder that is named as a part of the model (components.h), opened.
struct Component {
  ComponentName name;
  Input input;
  bool reads_index = true;  // its loader finds the shards that an index names
};

// How a folder is opened.
struct FolderOptions {
  // Which weights: whole ones if there are any (kAny), or the partitions of the ranks even if whole weights lie
  // beside them.
  enum class From : std::uint8_t { kAny, kZero, kDcp } from = From::kAny;
  // The folder whose config, tokenizer and other files go with the weights, and whose weights stand in for
  // lost ones; empty: the input's own.
  std::string base{};
  // Where the model lies in the tree of a torch file (weights/open/open.h) or of a distributed checkpoint
  // (DcpOptions); of a file, too.
  std::string key{};
  std::string adapter{};    // which adapter, for the ranks of a LoRA run; empty: the only one
  bool everything = false;  // for ranks: the tensors of the optimizer, too
  bool beside = false;      // of one file on another machine, the configs beside it are read, as of one here
  // What the components of the model become. A folder that consists of nothing else is one list of tensors,
  // whose names begin with those of the folders, unless they are wanted apart.
  enum class Components : std::uint8_t {
    kSkipped,  // not opened if the folder itself holds a model
    kBeside,   // inputs of their own if the folder itself holds a model
    kApart,    // always inputs of their own
  } components = Components::kSkipped;

  [[nodiscard]] bool is_plain() const;  // neither --from nor --base
};

// Opens PATH: "-" is standard input (see StreamData), a name that ends in ".json" is an index, and of a
// folder it opens the weights that lie there. Malformed weights are findings of `weights`; throws if nothing
// can be read, and kUsage for an option of the folder that means nothing here.
Input open_input(const std::string& path, StreamData stdin_data, const FolderOptions& options = {});

// Opens the operands of st-pack as one set: one PATH as above, or several files, and arrays as "NAME=file.npy".
Input open_inputs(const std::vector<std::string>& operands, StreamData stdin_data,
                  const FolderOptions& options = {});

// Throws kMalformed when the input is an adapter where a base model is needed.
void require_model(const Input& input, std::string_view advice);

// Throws kMalformed when the tensors can't be trusted or a JSON file beside them can't be read, or when the
// index names tensors that no shard has.
void require_sound(const Input& input);

// Throws kMalformed for pickles that are dangerous to load, unless they are to be salvaged, and for
// pickles without a state dict (an optimizer's state, arguments, a whole module).
void require_state_dicts(const Input& input, bool salvage);

// Sentences on what torch files hold beside the tensors of their state dicts.
std::vector<std::string> left_out_notes(const Input& input);

}  // namespace mu
