// SPDX-License-Identifier: Apache-2.0
// Which model a name found in a file means. Caches keep a model under a path that still tells its id; any
// other path tells nothing and never reaches a card.
#include "base/text.h"
#include "card/gather.h"
#include "card/tables.h"
#include "net/environment.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

std::optional<BaseName> from_hf_cache(const std::vector<std::string_view>& parts) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].starts_with("models--")) continue;
    std::string id(parts[i].substr(8));
    const std::size_t dashes = id.find("--");
    if (dashes != std::string::npos) id.replace(dashes, 2, "/");
    if (!is_repo_id(id)) return std::nullopt;
    BaseName name{id, ""};
    if (i + 2 < parts.size() && parts[i + 1] == "snapshots" && parts[i + 2].size() == 40)
      name.revision = parts[i + 2];
    return name;
  }
  return std::nullopt;
}

std::optional<BaseName> from_modelscope(const std::vector<std::string_view>& parts) {
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    if (parts[i] != "modelscope" || parts[i + 1] != "hub") continue;
    std::size_t at = i + 2;
    if (at < parts.size() && parts[at] == "models") ++at;
    if (at + 1 >= parts.size()) return std::nullopt;
    std::string name(parts[at + 1]);
    for (std::size_t dot = name.find("___"); dot != std::string::npos; dot = name.find("___", dot))
      name.replace(dot, 3, ".");
    std::string id = std::string(parts[at]) + "/" + name;
    if (is_repo_id(id)) return BaseName{id, ""};
  }
  return std::nullopt;
}

}  // namespace

std::optional<BaseName> base_from_name(std::string_view name, const std::string& folder) {
  const std::vector<std::string_view> parts = split(name, '/');
  if (std::optional<BaseName> found = from_hf_cache(parts)) return found;
  if (std::optional<BaseName> found = from_modelscope(parts)) return found;
  if (!is_repo_id(name) || is_local_path(name) || name == "None") return std::nullopt;
  const std::string_view last = base_name(name);
  if (last.starts_with("checkpoint-")) return std::nullopt;
  // A relative path looks like an id; it is a path where such a folder lies.
  std::string at = folder;
  for (int up = 0; up < 4; ++up) {
    if (is_in_reach(join_path(at, name)) && is_folder(join_path(at, name))) return std::nullopt;
    at = join_path(at, "..");
  }
  if (is_folder(std::string(name))) return std::nullopt;
  return BaseName{std::string(name), ""};
}

std::optional<std::string> cached_snapshot(std::string_view id) {
  if (!is_repo_id(id)) return std::nullopt;
  const std::string cache = hub_cache_home();
  std::string repo(id);
  if (const std::size_t slash = repo.find('/'); slash != std::string::npos) repo.replace(slash, 1, "--");
  const std::string root = join_path(cache, "models--" + repo);
  const std::string snapshots = join_path(root, "snapshots");
  if (!is_in_reach(snapshots) || !is_folder(snapshots)) return std::nullopt;
  const std::string main = join_path(root, "refs/main");
  if (exists(main) && !is_folder(main)) {
    const std::string commit(trim(read_whole_file(main, 4096)));
    const bool sound =
        commit.size() == 40 && commit.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (sound && is_folder(join_path(snapshots, commit))) return join_path(snapshots, commit);
  }
  const std::vector<FolderEntry> entries = list_folder(snapshots);
  if (entries.size() != 1) return std::nullopt;
  return join_path(snapshots, entries.front().name);
}

}  // namespace mu
