// SPDX-License-Identifier: Apache-2.0
#include "pack/gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "model/links.h"
#include "model/secrets.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"

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

std::set<std::string> code_files(const Folder& folder) {
  constexpr std::array<std::string_view, 5> kConfigs = {"config.json", "tokenizer_config.json",
                                                        "processor_config.json", "preprocessor_config.json",
                                                        "adapter_config.json"};
  std::vector<std::string> pending;
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

// Gathers the files of a subfolder that belongs to the model: chat templates, another adapter.
void gather_subfolder(const Folder& folder, const FolderFile& sub, bool weights_only,
                      std::vector<GatheredFile>& out) {
  for (const FolderEntry& entry : list_folder(folder.path_of(sub.name))) {
    if (entry.kind != FolderEntry::Kind::kFile) continue;
    const std::string name = sub.name + "/" + entry.name;
    const FileRole role = role_of(entry.name, false);
    const bool belongs =
        sub.role == FileRole::kChatTemplate ? entry.name.ends_with(".jinja") : is_published(role);
    GatheredFile file{name, entry.stamp.size, belongs && !weights_only, belongs ? sub.role : role, ""};
    file.reason = file.taken ? std::string(role_name(sub.role))
                             : std::string(belongs ? "only weights are asked for" : why_left(role));
    out.push_back(std::move(file));
  }
}

void judge_links(const Folder& folder, const std::vector<GatheredFile>& files,
                 std::vector<std::string>& notes) {
  constexpr std::uint64_t kSearched = 16U << 20;  // bytes searched for a secret; files of secrets are small
  if (is_far_name(folder.path)) return;
  const std::string root = resolved_path(folder.path);
  for (const GatheredFile& file : files) {
    if (!file.taken) continue;
    const std::string path = folder.path_of(file.name);
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

}  // namespace

std::vector<GatheredFile> gather_files(const Input& input, bool weights_only,
                                       std::vector<std::string>& notes) {
  std::vector<GatheredFile> files;
  if (!input.folder) return files;
  const Folder& folder = *input.folder;
  std::set<std::string> packed(input.choice.names.begin(), input.choice.names.end());
  if (input.weights.index)
    packed.insert(input.weights.index->shards.begin(), input.weights.index->shards.end());
  const std::set<std::string> code = weights_only ? std::set<std::string>() : code_files(folder);
  for (const FolderFile& file : folder.files) {
    if (packed.contains(file.name)) continue;
    const bool has_published_files =
        file.role == FileRole::kChatTemplate || file.role == FileRole::kNamedAdapter;
    if (file.is_folder && has_published_files) {
      gather_subfolder(folder, file, weights_only, files);
      continue;
    }
    const bool is_weights = file.role == FileRole::kWeights || file.role == FileRole::kWeightsIndex;
    const bool belongs =
        !file.is_folder && ((is_published(file.role) && !is_weights) || code.contains(file.name));
    GatheredFile gathered{file.name + (file.is_folder ? "/" : ""), file.size, belongs && !weights_only,
                          file.role, ""};
    if (gathered.taken) {
      gathered.reason = role_name(file.role);
    } else if (belongs) {
      gathered.reason = "only weights are asked for";
    } else if (is_weights) {
      gathered.reason = "loaders take " + input.choice.names.front() + " instead";
    } else {
      gathered.reason = why_left(file.role);
    }
    files.push_back(std::move(gathered));
  }
  judge_links(folder, files, notes);
  return files;
}

}  // namespace mu
