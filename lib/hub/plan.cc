// SPDX-License-Identifier: Apache-2.0
#include "hub/plan.h"

#include <algorithm>
#include <set>

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
    return item.action == PushAction::kNew || item.action == PushAction::kChanged ||
           item.action == PushAction::kDelete;
  });
}

WantedHashes wanted_hashes(const PreuploadAnswer& answer) {
  if (answer.ignored) return {};
  if (answer.lfs) return {.sha256 = true};
  return {.blob = !answer.oid.empty() && !is_sha256(answer.oid)};
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

std::vector<std::vector<const PushItem*>> split_commits(const PushPlan& plan, std::size_t max_files) {
  std::vector<std::vector<const PushItem*>> commits;
  std::uint64_t regular_bytes = 0;
  const auto add = [&](const PushItem& item) {
    const std::uint64_t bytes = item.local != nullptr && item.storage == Storage::kRegular ? item.size : 0;
    if (commits.empty() || commits.back().size() >= max_files || regular_bytes + bytes > kMaxRegularBytes) {
      commits.emplace_back();
      regular_bytes = 0;
    }
    commits.back().push_back(&item);
    regular_bytes += bytes;
  };
  for (const PushItem& item : plan.items) {
    if (item.action == PushAction::kDelete) add(item);
  }
  for (const PushItem& item : plan.items) {
    if (item.action == PushAction::kNew || item.action == PushAction::kChanged) add(item);
  }
  return commits;
}

}  // namespace mu
