// SPDX-License-Identifier: Apache-2.0
// Names on a hub: repositories, revisions and paths in them, and the URLs they make. Rules as
// huggingface_hub's (utils/_validators.py, _commit_api.py) and the Hub's own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mu {

enum class RepoType : std::uint8_t { kModel, kDataset, kSpace };
std::string_view repo_type_name(RepoType type);  // "model"
// "model", "dataset" or "space", also in the plural. Throws kUsage.
RepoType parse_repo_type(std::string_view text);

struct Repo {
  RepoType type = RepoType::kModel;
  std::string id;  // "owner/name", or a bare name until the owner is known

  [[nodiscard]] bool has_owner() const { return id.find('/') != std::string::npos; }
  [[nodiscard]] std::string api_path() const;  // "/api/models/owner/name"
  [[nodiscard]] std::string web_path() const;  // "/owner/name", "/datasets/owner/name"
};

// "owner/name", "datasets/owner/name", "hf://spaces/owner/name", "name". A `type` given besides must agree.
// Throws kUsage with the rule that a name breaks.
Repo parse_repo(std::string_view text, std::optional<RepoType> type);

// A path in a repository as the user wrote it, in the form that is sent: without a leading "/" or "./" and
// trailing slashes; empty for ".". Throws kUsage for what leads out or is refused.
std::string parse_repo_path(std::string_view text);

// Why the Hub would refuse a path, or nothing.
std::optional<std::string> path_fault(std::string_view path);

}  // namespace mu
