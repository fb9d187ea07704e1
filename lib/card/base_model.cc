// SPDX-License-Identifier: Apache-2.0
// Finds the model that a name in a file means. Caches keep a model under a path that still shows its id; any
// other path shows nothing and never reaches a card.
#include "base/error.h"
#include "base/text.h"
#include "card/gather.h"
#include "card/tables.h"
#include "model/hf_cache.h"
#include "net/environment.h"
#include "os/folder.h"

namespace mu {
namespace {

std::optional<BaseName> from_modelscope(const std::vector<std::string_view>& components) {
  for (std::size_t i = 0; i + 1 < components.size(); ++i) {
    if (components[i] != "modelscope" || components[i + 1] != "hub") continue;
    std::size_t at = i + 2;
    if (at < components.size() && components[at] == "models") ++at;
    if (at + 1 >= components.size()) return std::nullopt;
    std::string name(components[at + 1]);
    for (std::size_t dot = name.find("___"); dot != std::string::npos; dot = name.find("___", dot))
      name.erase(dot, 2)[dot] = '.';
    const std::string id = std::string(components[at]) + "/" + name;
    if (is_repo_id(id)) return BaseName{id, ""};
  }
  return std::nullopt;
}

}  // namespace

std::optional<BaseName> base_from_name(std::string_view name, const std::string& folder) {
  const std::vector<std::string_view> components = split(name, '/');
  if (const std::optional<CachedModel> cached = cached_model_at(name))
    return BaseName{cached->id, cached->commit};
  if (std::optional<BaseName> found = from_modelscope(components)) return found;
  if (!is_repo_id(name) || is_local_path(name) || name == "None") return std::nullopt;
  const std::string_view last = base_name(name);
  if (last.starts_with("checkpoint-")) return std::nullopt;
  // A relative path looks like an id; it is a path if there is such a folder.
  std::string at = folder;
  for (int up = 0; up < 4; ++up) {
    if (is_in_reach(join_path(at, name)) && is_folder(join_path(at, name))) return std::nullopt;
    at = join_path(at, "..");
  }
  if (is_folder(std::string(name))) return std::nullopt;
  return BaseName{std::string(name), ""};
}

std::optional<std::string> cached_snapshot(std::string_view id) {
  const std::string cache = hub_cache_home(), name = cached_repo_name("model", id);
  if (!is_repo_id(id) || !is_in_reach(join_path(join_path(cache, name), "snapshots"))) return std::nullopt;
  const CachedRepo repo(cache, name, CachedRepo::Links::kAllowed);
  try {
    if (const std::optional<std::string> main = repo.find_revision("main")) return repo.snapshot_path(*main);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;  // an unsound ref counts as none
  }
  // Downloaded by a tag or commit.
  const std::vector<std::string> snapshots = repo.snapshots();
  if (snapshots.size() != 1) return std::nullopt;
  return repo.snapshot_path(snapshots.front());
}

}  // namespace mu
