// SPDX-License-Identifier: Apache-2.0
#include "pack/gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "model/links.h"
#include "model/secrets.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/ranks/rank_names.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxSource = 64U
                                     << 20;  // bytes: no config or module is near this size; bounds memory

// The modules that `source` imports from its own folder: "from .configuration_x import …" gives
// "configuration_x.py".
std::vector<std::string> relative_imports(std::string_view source) {
  std::vector<std::string> files;
  for (const std::string_view line : split(source, '\n')) {
    std::string_view text = trim(line);
    constexpr std::string_view kFrom = "from .";
    if (!text.starts_with(kFrom)) continue;
    text.remove_prefix(kFrom.size());
    const std::size_t end = text.find_first_of(" \t.");
    const std::string_view module = text.substr(0, end);
    if (!module.empty()) files.push_back(std::string(module) + ".py");
  }
  return files;
}

// Python files that the configs name, or `named`, and what these import.
std::set<std::string> code_files(const Folder& folder, const std::vector<std::string>& named) {
  constexpr std::array<std::string_view, 5> kConfigs = {"config.json", "tokenizer_config.json",
                                                        "processor_config.json", "preprocessor_config.json",
                                                        "adapter_config.json"};
  std::vector<std::string> pending = named;
  for (const std::string_view name : kConfigs) {
    if (!folder.has(name)) continue;
    in_file(folder.path_of(name), [&] {
      const JsonDocument document = parse_json(read_whole_file(folder.path_of(name), kMaxSource));
      const std::vector<std::string> files = auto_map_files(document.root);
      pending.insert(pending.end(), files.begin(), files.end());
    });
  }
  std::set<std::string> taken;
  while (!pending.empty()) {
    const std::string file = std::move(pending.back());
    pending.pop_back();
    if (!folder.has(file) || !taken.insert(file).second) continue;
    const std::vector<std::string> imports =
        relative_imports(read_whole_file(folder.path_of(file), kMaxSource));
    pending.insert(pending.end(), imports.begin(), imports.end());
  }
  return taken;
}

void judge_links(const Folder& folder, const std::vector<GatheredFile>& files,
                 std::vector<std::string>& notes) {
  constexpr std::uint64_t kSearched = 16U << 20;  // bytes searched for a secret; files of secrets are small
  if (is_far_name(folder.path)) return;
  const std::string root = resolved_path(folder.path);
  for (const GatheredFile& file : files) {
    if (!file.taken) continue;
    const std::string& path = file.path;
    const std::optional<std::string> outside = leads_out(root, path);
    if (!outside) continue;
    if (search_file(InputFile(path), kSearched))
      throw refused("is a link that leads out of the folder, to a file that holds a secret: " +
                    escape_name(*outside))
          .in_file(escape_name(path))
          .hint("remove the link, or replace it with the right file");
    notes.push_back(fmt::format("{}: is a link that leads out of the folder, copied from {}",
                                escape_name(file.name), escape_name(*outside)));
  }
}

bool is_weights_role(FileRole role) {
  return role == FileRole::kWeights || role == FileRole::kTorchWeights || role == FileRole::kOtherWeights;
}

// What one process of a training wrote about the optimizer or the random state, such as
// optim_world_size_8_rank_3.pt.
bool is_state_of_rank(std::string_view name) {
  const std::optional<RankName> rank = parse_rank_name(name);
  return rank && (rank->kind.starts_with("optim") || rank->kind.starts_with("extra_state"));
}

bool is_weights_file(std::string_view name, FileRole role) {
  return is_weights_role(role) && !name.ends_with(".index.json") && !is_state_of_rank(name);
}

// Whether weights lie in a folder that belongs to nothing. What can't be looked at is left like the rest.
bool holds_weights(const std::string& path) {
  try {
    const std::vector<FolderEntry> entries = list_folder(path);
    return std::any_of(entries.begin(), entries.end(), [](const FolderEntry& entry) {
      return entry.kind == FolderEntry::Kind::kFile &&
             is_weights_file(entry.name, role_of(entry.name, false));
    });
  } catch (const Error&) {
    return false;
  }
}

class Gathering {
 public:
  Gathering(const Input& input, const GatherScope& scope)
      : input_(input), folder_(*input.folder), scope_(scope) {
    packed_.insert(input.choice.names.begin(), input.choice.names.end());
    if (input.weights.index)
      packed_.insert(input.weights.index->shards.begin(), input.weights.index->shards.end());
    if (input.weights.from_ranks) {
      for (const WeightsFile& file : input.weights.files) {
        if (folder_.path_of(base_name(file.name)) == file.name) packed_.emplace(base_name(file.name));
      }
    }
    for (const std::string& path : scope.apart) apart_.insert(path.substr(0, path.find('/')));
    if (!scope.weights_only) code_ = code_files(folder_, input.code);
  }

  std::vector<GatheredFile> run() {
    for (const FolderFile& file : folder_.files) {
      if (packed_.contains(file.name) || (file.is_folder && apart_.contains(file.name))) continue;
      if (file.is_folder) {
        add_folder(file);
      } else {
        add_file(file);
      }
    }
    return std::move(files_);
  }

 private:
  void add(GatheredFile file, std::string_view why_taken, std::string_view why_not) {
    const bool belongs = file.taken;
    file.taken = belongs && !scope_.weights_only;
    file.reason = file.taken ? why_taken : belongs ? "only weights are asked for" : why_not;
    file.path = folder_.path_of(file.name);
    if (const FarFile* const far = far_file(file.path); file.taken && far != nullptr && far->refuse)
      far->refuse();
    files_.push_back(std::move(file));
  }

  void add_file(const FolderFile& file) {
    const bool is_weights = file.role == FileRole::kWeights || file.role == FileRole::kWeightsIndex;
    const bool is_config =
        scope_.is_component && file.role == FileRole::kOther && file.name.ends_with(".json");
    const bool belongs = (is_published(file.role) && !is_weights) || code_.contains(file.name) || is_config;
    const std::string instead =
        input_.choice.names.empty() ? "the folders that " + scope_.named_by : input_.choice.names.front();
    add({file.name, file.size, belongs, file.role, "", is_weights_file(file.name, file.role)},
        is_config ? role_name(FileRole::kConfig) : role_name(file.role),
        is_weights ? "loaders take " + instead + (input_.choice.names.empty() ? " names" : " instead")
        : is_state_of_rank(file.name) ? "state of one rank"
                                      : std::string(why_left(file.role)));
  }

  void add_folder(const FolderFile& file) {
    switch (file.role) {
      case FileRole::kChatTemplate:
      case FileRole::kNamedAdapter:
      case FileRole::kTokenizer:
      case FileRole::kProcessor:
        return add_subfolder(file, file.name, 0);
      default:
        break;
    }
    const bool weights = file.role == FileRole::kOther && holds_weights(folder_.path_of(file.name));
    add({file.name + "/", 0, false, file.role, "", weights}, "",
        weights ? "nothing names these weights as a part of the model" : why_left(file.role));
  }

  // Files below a folder that belongs to the model: chat templates, another adapter, a tokenizer, or what a
  // processor keeps, whatever that is.
  void add_subfolder(const FolderFile& sub, const std::string& path, int depth) {
    constexpr int kDeepest = 3;
    for (const FolderEntry& entry : list_folder(folder_.path_of(path))) {
      const std::string name = path + "/" + entry.name;
      const bool whole = sub.role == FileRole::kProcessor;
      if (whole && entry.kind == FolderEntry::Kind::kFolder && depth < kDeepest)
        add_subfolder(sub, name, depth + 1);
      if (entry.kind != FolderEntry::Kind::kFile) continue;
      const FileRole role = role_of(entry.name, false);
      const bool belongs = whole                                 ? role != FileRole::kHidden
                           : sub.role == FileRole::kChatTemplate ? entry.name.ends_with(".jinja")
                                                                 : is_published(role);
      add({name, entry.stamp.size, belongs, belongs ? sub.role : role, "", is_weights_file(entry.name, role)},
          role_name(sub.role), why_left(role));
    }
  }

  const Input& input_;
  const Folder& folder_;
  const GatherScope& scope_;
  std::set<std::string> packed_, apart_, code_;
  std::vector<GatheredFile> files_;
};

}  // namespace

std::vector<GatheredFile> gather_files(const Input& input, const GatherScope& scope,
                                       std::vector<std::string>& notes) {
  if (!input.folder) return {};
  std::vector<GatheredFile> files = Gathering(input, scope).run();
  judge_links(*input.folder, files, notes);
  return files;
}

bool is_ours_in_subfolder(std::string_view name) {
  const FileRole role = role_of(name, false);
  return is_published(role) || is_weights_role(role) || role == FileRole::kCode || name.ends_with(".json") ||
         name.ends_with(".jinja");
}

}  // namespace mu
