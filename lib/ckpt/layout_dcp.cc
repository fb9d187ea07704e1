// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/glob.h"
#include "base/text.h"
#include "ckpt/layouts.h"
#include "os/folder.h"
#include "weights/pickle/pickle.h"
#include "weights/ranks/dcp_places.h"

namespace mu {
namespace {

constexpr std::string_view kMetadata = ".metadata";

// The metadata of all ranks together, or, if the ranks did not coordinate, one file for each.
std::vector<const WalkedEntry*> metadata_of(const Place& place) {
  if (const PlacedEntry* const one = place.find(kMetadata)) return {one->entry};
  std::vector<const WalkedEntry*> each;
  for (const PlacedEntry& entry : place.entries) {
    if (entry.base.starts_with("__") && entry.base.ends_with(kMetadata)) each.push_back(entry.entry);
  }
  return each;
}

bool is_partition_folder(const Place& place) {
  if (place.prefix.empty()) return false;
  const std::string_view name = base_name(std::string_view(place.prefix).substr(0, place.prefix.size() - 1));
  return glob_matches("pytorch_model_fsdp_[0-9]*", name) || glob_matches("optimizer_[0-9]*", name);
}

// Nullopt if one of the files stores its locations in a way that is not known.
std::optional<DcpPlaces> read_places(const CheckpointFiles& files,
                                     const std::vector<const WalkedEntry*>& metadata, Evidence& evidence) {
  DcpPlaces places;
  for (const WalkedEntry* const entry : metadata) {
    if (files.size_of(*entry) > Pickle::kMaxBytes) return std::nullopt;
    const std::string text = files.open(*entry).read_start(Pickle::kMaxBytes);
    if (text.empty()) {
      evidence.blame(entry->name + " is empty");
      return std::nullopt;
    }
    try {
      if (!add_dcp_places(text, places)) return std::nullopt;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      evidence.blame(entry->name + ": " + error.message());
      return std::nullopt;
    }
  }
  return places;
}

void judge_place(const CheckpointFiles& files, const Place& place, Evidence& evidence) {
  std::set<std::uint64_t> ranks;
  bool has_pieces = false;
  for (const PlacedEntry& entry : place.entries) {
    has_pieces = has_pieces || entry.base.ends_with(".distcp");
    if (const std::optional<std::uint64_t> rank = distcp_rank(entry.base)) ranks.insert(*rank);
  }
  const std::vector<const WalkedEntry*> metadata = metadata_of(place);
  if (!has_pieces && metadata.empty() && !is_partition_folder(place)) return;
  evidence.is_recognised = true;
  const bool is_optimizer = place.prefix.starts_with("optimizer_");
  if (!is_optimizer) evidence.has_partitions = true;
  if (is_optimizer) evidence.has_optimizer = true;
  if (!ranks.empty()) {
    evidence.has_rank_files = true;
    evidence.has_first_rank = evidence.has_first_rank || ranks.contains(0);
    evidence.processes = std::max(evidence.processes, *ranks.rbegin() + 1);
  }
  if (metadata.empty()) {
    // The coordinator, rank 0, writes the metadata last and renames it into place.
    const std::string why = place.prefix + std::string(kMetadata) + " is missing";
    if (!ranks.empty() && !ranks.contains(0))
      evidence.lacks_first = why;
    else
      evidence.blame(why);
    return;
  }
  evidence.has_first_rank = true;
  const std::optional<DcpPlaces> places = read_places(files, metadata, evidence);
  if (!places) return;
  evidence.has_optimizer = evidence.has_optimizer || places->has_optimizer;
  if (places->ends.empty() && !has_pieces) evidence.blame(place.prefix + " holds no pieces");
  for (const auto& [name, end] : places->ends) {
    const std::string path = place.prefix + name;
    const PlacedEntry* const found = files.find(place, name);
    if (found == nullptr || files.leads_nowhere(*found->entry)) {
      evidence.blame(fmt::format("{} is missing, but {} names it", escape_name(path), metadata[0]->name));
    } else if (const std::uint64_t size = files.size_of(*found->entry); size < end) {
      evidence.blame(fmt::format("{} is cut: it has {} of {} bytes", escape_name(path), group_digits(size),
                                 group_digits(end)));
    }
    if (!evidence.fault.empty()) return;
  }
  if (place.prefix.empty()) evidence.has_own_dcp = true;
}

}  // namespace

void judge_dcp(const CheckpointFiles& files, Evidence& evidence) {
  for (const Place& place : files.places()) judge_place(files, place, evidence);
}

}  // namespace mu
