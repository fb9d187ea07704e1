// SPDX-License-Identifier: Apache-2.0
#include "hub/plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "model/roles.h"
#include "os/folder.h"

namespace mu {
namespace {

bool is_sha256(std::string_view oid) {
  return oid.size() == 64;
}

PushItem plan_file(const LocalFile& file, const PreuploadAnswer& answer, const FileHashes& hashes) {
  PushItem item;
  item.name = file.name;
  item.local = &file;
  item.size = file.stamp.size;
  item.storage = answer.lfs ? Storage::kLfs : Storage::kRegular;
  item.oid = answer.lfs ? hashes.sha256 : hashes.blob;
  if (answer.ignored) {
    item.action = PushAction::kIgnored;
  } else if (answer.oid.empty()) {
    item.action = PushAction::kNew;
  } else {
    // An id of the other kind means that the file moves between git and LFS.
    item.action = answer.oid == item.oid ? PushAction::kSame : PushAction::kChanged;
  }
  return item;
}

bool is_sent(const PushItem& item) {
  return item.action == PushAction::kNew || item.action == PushAction::kChanged;
}

// The order in which files become visible if they don't fit into one commit.
int rank_of(std::string_view name) {
  const std::string_view base = base_name(name);
  if (base == "README.md") return 5;
  if (base.ends_with("index.json") || base == "modules.json") return 3;
  switch (role_of(base, false)) {
    case FileRole::kWeights:
    case FileRole::kTorchWeights:
    case FileRole::kOtherWeights:
      return 2;
    case FileRole::kWeightsIndex:
    case FileRole::kConfig:
    case FileRole::kGenerationConfig:
    case FileRole::kAdapterConfig:
      return 3;
    default:
      return 1;
  }
}

std::set<std::string_view> added_names(const PushPlan& plan) {
  std::set<std::string_view> names;
  for (const PushItem& item : plan.items) {
    if (is_sent(item)) names.insert(item.name);
  }
  return names;
}

// Whether `name` is a folder of an added file, or has an added file in place of one of its folders.
bool stands_in_way(const std::string& name, const std::set<std::string_view>& added) {
  const std::string below = name + "/";
  const auto next = added.lower_bound(below);
  if (next != added.end() && next->starts_with(below)) return true;
  for (std::size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
    if (added.contains(std::string_view(name).substr(0, slash))) return true;
  }
  return false;
}

}  // namespace

std::string_view push_action_name(PushAction action) {
  switch (action) {
    case PushAction::kNew:
      return "NEW";
    case PushAction::kChanged:
      return "CHANGED";
    case PushAction::kSame:
      return "SAME";
    case PushAction::kIgnored:
      return "IGNORED";
    case PushAction::kDelete:
      return "DELETE";
  }
  return "";
}

std::string_view storage_name(Storage storage) {
  switch (storage) {
    case Storage::kRegular:
      return "regular";
    case Storage::kLfs:
      return "lfs";
    case Storage::kUnknown:
      return "?";
  }
  return "";
}

bool PushPlan::has_changes() const {
  return std::any_of(items.begin(), items.end(), [](const PushItem& item) {
    return is_sent(item) || item.action == PushAction::kDelete;
  });
}

WantedHashes wanted_hashes(const PreuploadAnswer& answer) {
  if (answer.ignored) return {};
  if (answer.lfs) return {.sha256 = true};
  return {.blob = !answer.oid.empty() && !is_sha256(answer.oid)};
}

bool is_deleted(const std::vector<std::string>& deletions, const std::string& prefix, std::string_view path) {
  if (!prefix.empty()) {
    if (!path.starts_with(prefix + "/")) return false;
    path.remove_prefix(prefix.size() + 1);
  }
  return std::any_of(deletions.begin(), deletions.end(),
                     [path](const std::string& text) { return repo_glob(text).matches(path); });
}

PushPlan plan_push(const FileChoice& choice, const std::vector<PreuploadAnswer>& answers,
                   const std::vector<FileHashes>& hashes, const std::vector<RemoteFile>& remote,
                   const std::vector<std::string>& deletions, const std::string& prefix) {
  PushPlan plan;
  std::set<std::string_view> here;
  for (std::size_t i = 0; i < choice.files.size(); ++i) {
    const LocalFile& file = choice.files[i];
    here.insert(file.name);
    if (answers.empty()) {
      plan.items.push_back({file.name, PushAction::kNew, Storage::kUnknown, file.stamp.size, "", &file});
    } else {
      plan.items.push_back(plan_file(file, answers[i], hashes[i]));
    }
  }
  std::vector<Glob> patterns;
  for (const std::string& text : deletions) patterns.push_back(repo_glob(text));
  for (const RemoteFile& file : remote) {
    std::string_view below = file.path;
    if (!prefix.empty()) {
      if (!below.starts_with(prefix + "/")) continue;
      below.remove_prefix(prefix.size() + 1);
    }
    if (file.path == ".gitattributes" || here.contains(file.path) || !matches_any(patterns, below)) continue;
    plan.items.push_back({file.path, PushAction::kDelete,
                          file.sha256.empty() ? Storage::kRegular : Storage::kLfs, file.size, "", nullptr});
  }
  std::sort(plan.items.begin(), plan.items.end(),
            [](const PushItem& a, const PushItem& b) { return a.name < b.name; });
  plan.left_out = choice.left_out;
  return plan;
}

std::vector<CommitItems> split_commits(PushPlan& plan, std::size_t max_files) {
  const std::set<std::string_view> added = added_names(plan);
  std::vector<std::pair<int, PushItem*>> order;
  for (PushItem& item : plan.items) {
    const bool deletes = item.action == PushAction::kDelete;
    if (item.landed || (!deletes && !is_sent(item))) continue;
    order.emplace_back(deletes ? (stands_in_way(item.name, added) ? 0 : 4) : rank_of(item.name), &item);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<CommitItems> commits;
  std::uint64_t regular_bytes = 0;
  for (const auto& [rank, item] : order) {
    const std::uint64_t bytes = item->local != nullptr && item->storage == Storage::kRegular ? item->size : 0;
    if (commits.empty() || commits.back().size() >= max_files || regular_bytes + bytes > kMaxRegularBytes) {
      commits.emplace_back();
      regular_bytes = 0;
    }
    commits.back().push_back(item);
    regular_bytes += bytes;
  }
  return commits;
}

std::vector<CommitItems> halve_commits(const std::vector<CommitItems>& commits) {
  std::vector<CommitItems> halves;
  for (const CommitItems& items : commits) {
    if (items.size() <= kSmallCommit) {
      halves.push_back(items);
      continue;
    }
    const auto middle = items.begin() + static_cast<std::ptrdiff_t>((items.size() + 1) / 2);
    halves.emplace_back(items.begin(), middle);
    halves.emplace_back(middle, items.end());
  }
  return halves;
}

void keep_landed(PushPlan& plan, const std::vector<PushItem>& before) {
  for (const PushItem& item : before) {
    if (!item.landed) continue;
    const auto place =
        std::lower_bound(plan.items.begin(), plan.items.end(), item.name,
                         [](const PushItem& a, const std::string& name) { return a.name < name; });
    if (place == plan.items.end() || place->name != item.name) {
      plan.items.insert(place, item);
    } else if (place->action == PushAction::kSame) {
      *place = item;
    }
  }
}

}  // namespace mu
