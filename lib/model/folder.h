// SPDX-License-Identifier: Apache-2.0
// A model, adapter, checkpoint or run folder: what lies in it, what each file is for, and which weights a
// loader would take.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/roles.h"

namespace mu {

struct FolderFile {
  std::string name;  // relative to the folder
  bool is_folder = false;
  std::uint64_t size = 0;  // bytes; of a folder 0
  FileRole role = FileRole::kOther;
};

struct Folder {
  std::string path;
  std::vector<FolderFile> files;  // sorted by name

  [[nodiscard]] const FolderFile* find(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
  [[nodiscard]] std::string path_of(std::string_view name) const;
};

// Reads a folder without its sub-folders, except that a sub-folder with an adapter in it is recognised. Broken
// links and entries that are neither file nor folder are left out. Throws kIo.
Folder scan_folder(const std::string& path);

// The weights that stand for a folder.
struct WeightsChoice {
  std::vector<std::string> names;  // one file, one index, or all shards of a set that has lost its index
  bool is_index = false;
  bool is_adapter = false;
  std::string stem;  // "model", "adapter_model": how the weights are named when written again
};

// Whether a loader would find weights in it. Other torch files may be anything.
bool has_whole_weights(const Folder& folder);

// Chooses in the order of loaders: model.safetensors, its index, the same of diffusion_pytorch_model,
// adapter_model.safetensors, the only other set there is; without safetensors, or where they are a variant
// (model.fp16.safetensors), pytorch_model.bin, its index, the same of diffusion_pytorch_model, adapter_model.bin,
// then the only torch or GGUF file. Throws kMalformed, with advice, when there are none or several.
WeightsChoice choose_weights(const Folder& folder);

// "model-00002-of-00003.safetensors" -> {"model", 2, 3}.
struct ShardName {
  std::string_view stem;
  std::uint64_t number;
  std::uint64_t count;
};
std::optional<ShardName> parse_shard_name(std::string_view name);

}  // namespace mu
