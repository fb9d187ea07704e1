// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "ckpt/layouts.h"
#include "weights/ranks/zero_files.h"
#include "weights/ranks/zero_states.h"

namespace mu {
namespace {

// The files of one tag folder, by model-parallel rank.
struct ZeroFolder {
  std::map<std::uint64_t, std::set<std::uint64_t>> optimizer,
      model;                             // data-parallel ranks; model: of stage 3
  std::set<std::uint64_t> plain_model;   // mp_rank_00_model_states.pt
  const WalkedEntry* counted = nullptr;  // a file that says how many there should be
  bool has_other_kinds = false;          // of experts or pipeline stages, which are numbered differently
};

bool is_state_name(std::string_view name) {
  return name.ends_with("_optim_states.pt") || name.ends_with("_model_states.pt");
}

ZeroFolder read_folder(const CheckpointFiles& files, const Place& place, Evidence& evidence) {
  ZeroFolder found;
  bool counted_is_model = false;
  for (const PlacedEntry& entry : place.entries) {
    if (!is_state_name(entry.base)) continue;
    probe_whole(files, *entry.entry, evidence);
    const std::optional<ZeroFileName> name = parse_zero_file_name(entry.base);
    if (!name) {
      found.has_other_kinds = true;
      continue;
    }
    if (name->is_optimizer)
      found.optimizer[name->model_rank].insert(*name->rank);
    else if (name->rank)
      found.model[name->model_rank].insert(*name->rank);
    else
      found.plain_model.insert(name->model_rank);
    // A model file says more than an optimizer file, and those of all ranks say the same.
    if (found.counted == nullptr || (!name->is_optimizer && !counted_is_model)) {
      found.counted = entry.entry;
      counted_is_model = !name->is_optimizer;
    }
  }
  return found;
}

// True if all files found belong to ranks above the first.
bool lacks_first(const ZeroFolder& folder) {
  const auto has_first = [](const std::map<std::uint64_t, std::set<std::uint64_t>>& ranks) {
    return std::any_of(ranks.begin(), ranks.end(),
                       [](const auto& entry) { return entry.second.contains(0); });
  };
  return folder.plain_model.empty() && !has_first(folder.optimizer) && !has_first(folder.model);
}

void expect(const std::map<std::uint64_t, std::set<std::uint64_t>>& by_model_rank, std::string_view what,
            std::uint64_t ranks, Evidence& evidence) {
  for (const auto& [model_rank, found] : by_model_rank) {
    const std::uint64_t expected = std::max(ranks, *found.rbegin() + 1);
    if (const std::optional<std::uint64_t> rank = first_missing(found, expected))
      evidence.blame(fmt::format("{} files of {}, {} expected: rank {}'s is missing", what,
                                 plural(found.size(), "rank"), expected, *rank));
  }
}

void judge_counts(const CheckpointFiles& files, const ZeroFolder& folder, std::uint64_t processes,
                  Evidence& evidence) {
  ZeroCounts counts;
  if (folder.counted != nullptr && evidence.fault.empty())
    counts = read_zero_counts(files.open(*folder.counted));
  // Without tensor parallelism every process is one data-parallel rank.
  const bool is_flat = folder.optimizer.size() <= 1 && counts.model_ranks.value_or(1) == 1;
  std::uint64_t ranks = counts.ranks.value_or(is_flat ? processes : 0);
  for (const auto* const kind : {&folder.optimizer, &folder.model}) {
    for (const auto& [model_rank, found] : *kind) ranks = std::max(ranks, *found.rbegin() + 1);
  }
  expect(folder.optimizer, "optimizer", ranks, evidence);
  expect(folder.model, "model", ranks, evidence);
  if (folder.optimizer.empty() && !folder.has_other_kinds && counts.stage.value_or(0) > 0)
    evidence.blame("no optimizer files of any rank");
  if (folder.plain_model.empty() && folder.model.empty()) evidence.blame("no model states of any rank");
  if (!folder.has_other_kinds) {
    const std::uint64_t expected = std::max<std::uint64_t>(
        counts.model_ranks.value_or(1), folder.optimizer.empty() ? 1 : folder.optimizer.rbegin()->first + 1);
    if (!folder.optimizer.empty() && folder.optimizer.size() != expected)
      evidence.blame(fmt::format("optimizer files of {} model-parallel ranks, {} expected",
                                 folder.optimizer.size(), expected));
    const std::uint64_t models = std::max(folder.plain_model.size(), folder.model.size());
    if (models != expected && models > 0)
      evidence.blame(fmt::format("model states of {} model-parallel ranks, {} expected", models, expected));
  }
  if (is_flat) evidence.processes = std::max(evidence.processes, ranks);
  evidence.has_counted_zero = counts.ranks.has_value();
}

// The tag that the file `latest` of a folder names; empty if there is none.
std::string read_tag(const CheckpointFiles& files, const Place& place, Evidence& evidence) {
  const PlacedEntry* const latest = place.find("latest");
  constexpr std::uint64_t kMost = 256;  // bytes: the tag names a folder, and names have at most 255
  if (latest == nullptr || latest->entry->kind != WalkedEntry::Kind::kFile || latest->entry->size >= kMost)
    return "";
  const std::string tag(trim(files.open(*latest->entry).read_start(kMost)));
  if (tag.empty()) {
    evidence.blame(latest->entry->name + " is empty");
  } else if (place.find(tag) == nullptr) {
    evidence.blame(fmt::format("{} names {}, which is missing", latest->entry->name, escape_name(tag)));
  }
  return tag;
}

}  // namespace

void judge_zero(const CheckpointFiles& files, Evidence& evidence) {
  std::map<std::string, std::string> tags;  // by the folder that holds `latest`
  std::uint64_t processes = 0;
  for (const Place& place : files.places()) {
    if (std::string tag = read_tag(files, place, evidence); !tag.empty()) {
      tags[place.prefix] = tag;
      evidence.is_zero = true;
    }
    for (const PlacedEntry& entry : place.entries) {
      const std::optional<RankName> name = parse_rank_name(entry.base);
      if (name && name->is_rng) ++processes;
    }
  }
  bool has_files = false;
  for (const Place& place : files.places()) {
    if (std::none_of(place.entries.begin(), place.entries.end(),
                     [](const PlacedEntry& entry) { return is_state_name(entry.base); }))
      continue;
    evidence.is_recognised = true;
    const std::size_t above =
        place.prefix.size() < 2 ? 0 : place.prefix.rfind('/', place.prefix.size() - 2) + 1;
    const auto tag = tags.find(place.prefix.substr(0, above));
    const bool is_current = tag == tags.end() || place.prefix == tag->first + tag->second + "/";
    if (!is_current) continue;  // left over from another save
    has_files = true;
    if (tag == tags.end() && !place.prefix.empty())
      evidence.lacks_tag = place.prefix.substr(0, above) + "latest is missing";
    const ZeroFolder folder = read_folder(files, place, evidence);
    evidence.has_rank_files = true;
    evidence.has_partitions = true;
    evidence.is_zero = evidence.is_zero || !folder.optimizer.empty();
    evidence.is_stage3 = evidence.is_stage3 || !folder.model.empty();
    if (lacks_first(folder) && !folder.has_other_kinds) {
      evidence.lacks_first = place.prefix + " lacks the files of rank 0";
      continue;
    }
    evidence.has_first_rank = true;
    judge_counts(files, folder, processes > 1 ? processes : 0, evidence);
  }
  evidence.is_zero = evidence.is_zero && has_files;
}

}  // namespace mu
