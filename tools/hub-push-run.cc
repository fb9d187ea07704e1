// SPDX-License-Identifier: Apache-2.0
#include "hub-push-run.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "ckpt/scan.h"
#include "model/roles.h"
#include "os/folder.h"

namespace mu {
namespace {

bool has_weights(const FileChoice& choice) {
  return std::any_of(choice.files.begin(), choice.files.end(), [](const LocalFile& file) {
    const FileRole role = role_of(base_name(file.name), false);
    return role == FileRole::kWeights || role == FileRole::kTorchWeights || role == FileRole::kOtherWeights;
  });
}

// The checkpoints that lie in a folder, by step.
std::vector<std::string> checkpoints_in(const std::string& folder) {
  const CheckpointNames names;
  std::vector<std::pair<std::uint64_t, std::string>> found;
  for (const FolderEntry& entry : list_folder(folder)) {
    if (names.matches(entry.name, entry.kind == FolderEntry::Kind::kFolder))
      found.emplace_back(names.number_of(entry.name).value_or(0), entry.name);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> sorted;
  for (auto& [step, name] : found) sorted.push_back(std::move(name));
  return sorted;
}

}  // namespace

void refuse_run_folder(const std::string& local, const FileChoice& choice) {
  if (!is_folder(local) || has_weights(choice)) return;
  const std::vector<std::string> checkpoints = checkpoints_in(local);
  if (checkpoints.empty()) return;
  const std::string some = checkpoints.size() <= 4
                               ? join(checkpoints, ", ")
                               : fmt::format("{} to {}", checkpoints.front(), checkpoints.back());
  throw refused(fmt::format("holds the checkpoints of a run ({}), but no model of its own", some))
      .in_file(escape_name(local))
      .hint(fmt::format("push one of them, for example {}; --every TIME pushes each new one",
                        escape_name(join_path(local, checkpoints.back()))));
}

}  // namespace mu
