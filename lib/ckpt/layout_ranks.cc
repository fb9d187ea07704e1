// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "ckpt/layouts.h"
#include "weights/ranks/zero_files.h"

namespace mu {
namespace {

// Roles of files that one node's files of a checkpoint may hold: files that nobody loads, and files that
// DeepSpeed leaves on every node.
bool is_neutral(FileRole role) {
  switch (role) {
    case FileRole::kOther:
    case FileRole::kLog:
    case FileRole::kCode:
    case FileRole::kDocument:
    case FileRole::kHidden:
    case FileRole::kRankHelper:
    case FileRole::kRankState:
    case FileRole::kCheckpoint:
      return true;
    default:
      return false;
  }
}

bool is_of_rank(std::string_view base) {
  return parse_rank_name(base) || distcp_rank(base) || parse_zero_file_name(base);
}

// Judges the files of a folder mp_rank_00. Each of the other such folders holds the same `kinds`.
void judge_model_rank(const CheckpointFiles& files, const Place& place,
                      const std::set<std::string_view>& kinds, Evidence& evidence) {
  bool has_state = false;
  for (const PlacedEntry& entry : place.entries) {
    if (entry.role != FileRole::kTorchWeights && entry.role != FileRole::kOptimizer) continue;
    has_state = true;
    probe_whole(files, *entry.entry, evidence);
  }
  if (!has_state) evidence.blame(place.prefix + " holds no state");
  for (const std::string_view kind : kinds) {
    if (place.find(kind) == nullptr) evidence.blame(fmt::format("{}{} is missing", place.prefix, kind));
  }
}

std::set<std::string_view> kinds_in(const std::vector<const Place*>& folders) {
  std::set<std::string_view> kinds;
  for (const Place* const folder : folders) {
    for (const PlacedEntry& entry : folder->entries) {
      if (entry.role == FileRole::kTorchWeights) kinds.insert(entry.base);
    }
  }
  return kinds;
}

// True if there are only files of ranks above the first: what a node with its own disk keeps.
bool is_rank_only(const CheckpointFiles& files, const Evidence& evidence) {
  if (!evidence.has_rank_files || evidence.has_first_rank) return false;
  for (const Place& place : files.places()) {
    for (const PlacedEntry& entry : place.entries) {
      const bool is_folder = entry.entry->kind == WalkedEntry::Kind::kFolder;
      // Folders of ranks' files are judged by what lies in them.
      if (!is_folder && !is_neutral(entry.role) && !is_of_rank(entry.base)) return false;
      if (entry.base == "fsdp_config.json" || entry.base == "common.pt") return false;
    }
  }
  return true;
}

}  // namespace

void judge_megatron(const CheckpointFiles& files, Evidence& evidence) {
  for (const Place& place : files.places()) {
    std::set<std::vector<std::uint64_t>> grid;
    std::vector<const Place*> folders;
    for (const PlacedEntry& entry : place.entries) {
      if (entry.entry->kind != WalkedEntry::Kind::kFolder) continue;
      const std::optional<std::vector<std::uint64_t>> at = parse_model_rank_folder(entry.base);
      if (!at) continue;
      grid.insert(*at);
      evidence.rank_sets.insert(entry.entry->name);
      if (const Place* const folder = files.find_place(entry.entry->name + "/")) folders.push_back(folder);
    }
    if (!folders.empty()) {
      evidence.is_recognised = evidence.has_weights = evidence.has_optimizer = true;
      evidence.blame(missing_of_grid(grid));
      const std::set<std::string_view> kinds = kinds_in(folders);
      for (const Place* const folder : folders) judge_model_rank(files, *folder, kinds, evidence);
    }
    // metadata.json says which kind of pieces are beside it.
    const PlacedEntry* const kind = place.find("metadata.json");
    if (kind == nullptr || kind->entry->kind != WalkedEntry::Kind::kFile) continue;
    const std::string text = files.open(*kind->entry).read_start(4096);
    const bool has_metadata = place.find(".metadata") != nullptr;
    if (text.empty() && (place.find("common.pt") != nullptr || has_metadata))
      evidence.blame(kind->entry->name + " is empty");
    if (text.find("sharded_backend") == std::string::npos) continue;
    evidence.is_recognised = true;
    if (text.find("\"torch_dist\"") != std::string::npos && !has_metadata)
      evidence.blame(place.prefix + ".metadata is missing");
    // common.pt holds what the ranks do not divide; without it nothing else is read.
    if (text.find("\"common_backend\"") != std::string::npos && place.find("common.pt") == nullptr)
      evidence.blame(place.prefix + "common.pt is missing");
  }
}

void judge_ranks(const CheckpointFiles& files, const std::function<SavedArguments()>& arguments,
                 Evidence& evidence) {
  std::vector<std::pair<const Place*, RankFiles>> all;
  for (const Place& place : files.places()) {
    RankFiles ranks;
    for (const PlacedEntry& entry : place.entries) {
      const bool is_folder = entry.entry->kind == WalkedEntry::Kind::kFolder;
      const std::optional<RankName> name = is_folder ? std::nullopt : parse_rank_name(entry.base);
      if (!name) continue;
      ranks.add(*name);
      probe_whole(files, *entry.entry, evidence);
      evidence.has_optimizer = evidence.has_optimizer || name->kind.starts_with("optim");
      evidence.has_partitions = evidence.has_partitions || name->kind.find("model") != std::string::npos;
    }
    if (ranks.is_empty()) continue;
    evidence.is_recognised = evidence.has_rank_files = true;
    evidence.has_first_rank = evidence.has_first_rank || ranks.has_first();
    evidence.processes = std::max(evidence.processes, ranks.processes());
    for (const std::string& kind : ranks.kinds()) evidence.rank_sets.insert(place.prefix + kind);
    all.emplace_back(&place, std::move(ranks));
  }
  evidence.is_rank_only = is_rank_only(files, evidence);
  const SavedArguments said = all.empty() && evidence.lacks_first.empty() ? SavedArguments() : arguments();
  evidence.processes = std::max(evidence.processes, said.processes);
  const auto is_faultless = [&](const RankFiles& ranks) { return ranks.missing(evidence.processes).empty(); };
  const bool is_whole =
      evidence.lacks_first.empty() &&
      std::all_of(all.begin(), all.end(), [&](const auto& one) { return is_faultless(one.second); });
  if (is_whole) return;
  const bool own = evidence.is_rank_only || said.saves_each_node;
  if (!own) evidence.blame(evidence.lacks_first);
  for (const auto& [place, ranks] : all) {
    const std::string why = own ? ranks.gap() : ranks.missing(evidence.processes);
    if (!why.empty()) evidence.blame(place->prefix + (place->prefix.empty() ? "" : ": ") + why);
  }
}

}  // namespace mu
