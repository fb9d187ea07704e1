// SPDX-License-Identifier: Apache-2.0
#include "model/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::string_view kSuffix = ".safetensors";
constexpr std::string_view kDiffusers = "diffusion_pytorch_model";

std::string stem_of(std::string_view name) {
  const std::size_t end = name.find(kSuffix);
  return std::string(name.substr(0, end));
}

bool holds_adapter(const std::string& path) {
  return exists(join_path(path, "adapter_model.safetensors")) || exists(join_path(path, "adapter_model.bin"));
}

// Shards without an index, by stem; only sets whose numbers are all there.
std::vector<std::vector<std::string>> whole_sets(const std::vector<std::string>& files) {
  std::map<std::pair<std::string_view, std::uint64_t>, std::vector<std::string>> sets;
  for (const std::string& file : files) {
    if (const std::optional<ShardName> shard = parse_shard_name(file))
      sets[{shard->stem, shard->count}].push_back(file);
  }
  std::vector<std::vector<std::string>> whole;
  for (auto& [key, names] : sets) {
    if (names.size() == key.second) whole.push_back(std::move(names));
  }
  return whole;
}

// "model.fp16.safetensors", which loaders take only when they are asked for the variant.
bool is_variant(std::string_view name) {
  for (const std::string_view stem : {std::string_view("model"), kDiffusers}) {
    if (name.starts_with(stem) && name.substr(stem.size()).starts_with('.')) return true;
  }
  return false;
}

// The torch files that loaders look for.
std::optional<WeightsChoice> choose_torch(const Folder& folder) {
  for (const std::string_view stem : {std::string_view("pytorch_model"), kDiffusers}) {
    for (const char* const end : {".bin", ".bin.index.json"}) {
      const std::string name = std::string(stem) + end;
      if (folder.has(name))
        return WeightsChoice{
            {name}, name.ends_with(".json"), false, stem == kDiffusers ? std::string(stem) : "model"};
    }
  }
  return std::nullopt;
}

// A folder without safetensors: what loaders look for, else the only torch or GGUF file.
WeightsChoice choose_other_format(const Folder& folder) {
  if (std::optional<WeightsChoice> torch = choose_torch(folder)) return std::move(*torch);
  if (folder.has("adapter_model.bin")) return {{"adapter_model.bin"}, false, true, "adapter_model"};
  std::vector<std::string> found;
  for (const FolderFile& file : folder.files) {
    const bool readable = file.role == FileRole::kTorchWeights || file.name.ends_with(".gguf");
    if (readable) found.push_back(file.name);
  }
  if (found.size() == 1) {
    const std::string& name = found.front();
    std::string stem = name.starts_with(kDiffusers) ? name.substr(0, name.rfind(".bin")) : "model";
    return {{name}, name.ends_with(".json"), false, std::move(stem)};
  }
  Error error =
      malformed(found.empty() ? "no weights in this folder"
                              : "there are several files of weights: " + escape_name(join(found, ", ")))
          .in_file(escape_name(folder.path));
  if (!found.empty()) throw error.hint("name the one you mean");
  for (const FolderFile& file : folder.files) {
    if (file.role == FileRole::kCheckpoint) error.hint("name a checkpoint in it, such as " + file.name);
  }
  throw error;
}

}  // namespace

const FolderFile* Folder::find(std::string_view name) const {
  const auto found =
      std::lower_bound(files.begin(), files.end(), name,
                       [](const FolderFile& file, std::string_view key) { return file.name < key; });
  return found != files.end() && found->name == name ? &*found : nullptr;
}

std::string Folder::path_of(std::string_view name) const {
  return join_path(path, name);
}

Folder scan_folder(const std::string& path) {
  Folder folder;
  folder.path = path;
  for (const FolderEntry& entry : list_folder(path)) {
    const bool is_folder = entry.kind == FolderEntry::Kind::kFolder;
    if (!is_folder && entry.kind != FolderEntry::Kind::kFile) continue;
    FileRole role = role_of(entry.name, is_folder);
    if (is_folder && role == FileRole::kOther && holds_adapter(join_path(path, entry.name)))
      role = FileRole::kNamedAdapter;
    folder.files.push_back({entry.name, is_folder, is_folder ? 0 : entry.stamp.size, role});
  }
  return folder;
}

std::optional<ShardName> parse_shard_name(std::string_view name) {
  if (!name.ends_with(kSuffix)) return std::nullopt;
  const std::string_view stem = name.substr(0, name.size() - kSuffix.size());
  const std::size_t of = stem.rfind("-of-");
  const std::size_t dash =
      of == std::string_view::npos || of == 0 ? std::string_view::npos : stem.rfind('-', of - 1);
  if (dash == std::string_view::npos) return std::nullopt;
  const auto digits = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const std::from_chars_result parsed = std::from_chars(text.data(), end, value);
    if (text.size() < 5 || text.size() > 6 || parsed.ec != std::errc() || parsed.ptr != end)
      return std::nullopt;
    return value;
  };
  const std::optional<std::uint64_t> number = digits(stem.substr(dash + 1, of - dash - 1));
  const std::optional<std::uint64_t> count = digits(stem.substr(of + 4));
  if (!number || !count) return std::nullopt;
  return ShardName{stem.substr(0, dash), *number, *count};
}

bool has_whole_weights(const Folder& folder) {
  return std::any_of(folder.files.begin(), folder.files.end(), [](const FolderFile& file) {
    if (file.is_folder) return false;
    if (file.role == FileRole::kTorchWeights)
      return file.name == "pytorch_model_fsdp.bin" || file.name.starts_with("adapter_model") ||
             (file.name.starts_with("pytorch_model") && !file.name.starts_with("pytorch_model_fsdp"));
    return file.role == FileRole::kWeights || file.role == FileRole::kWeightsIndex;
  });
}

WeightsChoice choose_weights(const Folder& folder) {
  const auto one = [](std::string name, bool is_index, bool is_adapter) {
    std::string stem = stem_of(name);
    return WeightsChoice{{std::move(name)}, is_index, is_adapter, std::move(stem)};
  };
  if (folder.has("model.safetensors")) return one("model.safetensors", false, false);
  if (folder.has("model.safetensors.index.json")) return one("model.safetensors.index.json", true, false);
  for (const char* const end : {".safetensors", ".safetensors.index.json"}) {
    const std::string name = std::string(kDiffusers) + end;
    if (folder.has(name)) return one(name, name.ends_with(".json"), false);
  }
  if (folder.has("adapter_model.safetensors")) return one("adapter_model.safetensors", false, true);
  // MLX keeps those of earlier steps beside it.
  if (folder.has("adapters.safetensors") && folder.has("adapter_config.json"))
    return one("adapters.safetensors", false, true);

  std::vector<std::string> indexes;
  std::vector<std::string> shards;
  std::vector<std::string> singles;
  for (const FolderFile& file : folder.files) {
    if (file.role == FileRole::kWeightsIndex) indexes.push_back(file.name);
    if (file.role == FileRole::kWeights)
      (parse_shard_name(file.name) ? shards : singles).push_back(file.name);
  }
  const auto are_variants = [](const std::vector<std::string>& names) {
    return std::all_of(names.begin(), names.end(), is_variant);
  };
  if (are_variants(indexes) && are_variants(shards) && are_variants(singles)) {
    if (std::optional<WeightsChoice> torch = choose_torch(folder)) return std::move(*torch);
  }
  if (indexes.size() == 1) return one(indexes.front(), true, false);
  std::vector<std::vector<std::string>> sets = whole_sets(shards);
  if (indexes.empty() && sets.size() == 1 && singles.empty()) {
    std::string stem(parse_shard_name(sets[0].front())->stem);
    return {std::move(sets[0]), false, false, std::move(stem)};
  }
  if (indexes.empty() && shards.empty() && singles.size() == 1) return one(singles.front(), false, false);
  if (indexes.empty() && shards.empty() && singles.empty()) return choose_other_format(folder);
  if (indexes.empty() && singles.empty() && sets.empty()) {
    throw malformed("shards are missing, and so is their index")
        .in_file(escape_name(folder.path))
        .hint("fetch or copy them again");
  }
  throw malformed("there are several sets of weights: " +
                  join(indexes.empty() ? (singles.empty() ? shards : singles) : indexes, ", "))
      .in_file(escape_name(folder.path))
      .hint("name the one you mean");
}

}  // namespace mu
