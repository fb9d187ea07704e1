// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/fsdp_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/in_file.h"
#include "base/json.h"
#include "base/text.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/ranks/rank_file.h"
#include "weights/ranks/rank_names.h"

namespace mu {
namespace {

// verl and its forks say the number of processes, accelerate does not.
bool holds_model(const RankName& name) {
  return name.processes ? name.kind == "model.pt" : name.kind.starts_with("pytorch_model_fsdp");
}

// Files of one save by rank; the key is the number of processes, 0 for unknown, and the kind.
using Sets = std::map<std::pair<std::uint64_t, std::string>, std::map<std::uint64_t, std::string>>;

Sets model_sets(const std::vector<FolderEntry>& entries) {
  Sets sets;
  for (const FolderEntry& entry : entries) {
    if (entry.kind == FolderEntry::Kind::kFolder) continue;
    const std::optional<RankName> name = parse_rank_name(entry.name);
    if (name && holds_model(*name))
      sets[{name->processes.value_or(0), name->kind}].emplace(name->rank, entry.name);
  }
  return sets;
}

// The number of processes as the trainer noted it beside the files.
std::optional<std::uint64_t> configured_ranks(const std::string& folder) {
  constexpr std::uint64_t kMaxConfig = 1U << 20;
  const std::string path = join_path(folder, "fsdp_config.json");
  if (!exists(path) || is_folder(path)) return std::nullopt;
  return in_file(path,
                 [&] { return parse_json(read_whole_file(path, kMaxConfig)).root.find_u64("world_size"); });
}

void require_all(const std::map<std::uint64_t, std::string>& files, std::uint64_t ranks) {
  std::set<std::uint64_t> present;
  for (const auto& [rank, name] : files) present.insert(rank);
  const std::string& last = files.rbegin()->second;
  if (*present.rbegin() >= ranks)
    throw rule_error(
        "FS-COUNT", fmt::format("{} is there, but the run had {}", escape_name(last), plural(ranks, "rank")));
  if (const std::optional<std::uint64_t> missing = first_missing(present, ranks))
    throw rule_error("FS-COUNT", fmt::format("files of {} of {} ranks are here: rank {}'s is missing",
                                             files.size(), ranks, *missing))
        .hint("copy the files of all ranks into one folder");
}

}  // namespace

bool is_fsdp_folder(const std::string& folder) {
  return !model_sets(list_folder(folder)).empty();
}

FsdpFiles list_fsdp_files(const std::string& folder) {
  const std::vector<FolderEntry> entries = list_folder(folder);
  const Sets sets = model_sets(entries);
  for (const auto& [key, files] : sets) {
    if (key.second == "pytorch_model_fsdp.bin")
      throw rule_error("DC-FLAT",
                       fmt::format("{}: flat parameters of FSDP, as single ranks pickle them: only the "
                                   "training program can cut them up",
                                   escape_name(files.begin()->second)))
          .hint("save with SHARDED_STATE_DICT or FULL_STATE_DICT");
  }
  if (sets.empty()) throw rule_error("FS-COUNT", "the files of the ranks are gone");
  if (sets.size() > 1)
    throw rule_error("FS-COUNT", fmt::format("files of two saves are here: {} and {}",
                                             escape_name(sets.begin()->second.begin()->second),
                                             escape_name(std::next(sets.begin())->second.begin()->second)))
        .hint("move those of one save to a folder of their own");
  const auto& [key, found] = *sets.begin();
  FsdpFiles files;
  const std::optional<std::uint64_t> configured = configured_ranks(folder);
  if (key.first > 0 && configured && *configured != key.first)
    throw rule_error("FS-COUNT", fmt::format("fsdp_config.json says {}, the names of the files {}",
                                             plural(*configured, "rank"), key.first));
  files.are_counted = key.first > 0 || configured;
  require_all(found, key.first > 0 ? key.first : configured ? *configured : found.rbegin()->first + 1);
  for (const auto& [rank, name] : found) files.model.push_back(name);
  for (const FolderEntry& entry : entries) {
    const std::optional<RankName> name = parse_rank_name(entry.name);
    if (!name || entry.kind == FolderEntry::Kind::kFolder || name->processes.value_or(0) != key.first)
      continue;
    if (name->kind == "extra_state.pt") files.extra_states.push_back(entry.name);
    if (name->kind == "optim.pt") files.optimizers.push_back(entry.name);
  }
  return files;
}

}  // namespace mu
