// SPDX-License-Identifier: Apache-2.0
// Names on a hub: repositories, revisions and paths, and the URLs they make. The rules are those of
// huggingface_hub (_commit_api.py) and of the Hub; for ids, model/hf_cache.h has them.
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
  std::string id;  // "owner/name", or "name" until the owner is known

  [[nodiscard]] bool has_owner() const { return id.find('/') != std::string::npos; }
  [[nodiscard]] std::string api_path() const;  // "/api/models/owner/name"
  [[nodiscard]] std::string web_path() const;  // "/owner/name", "/datasets/owner/name"
};

// Takes "owner/name", "datasets/owner/name", "hf://spaces/owner/name" or "name". A `type` that is given must
// agree. Throws kUsage with the rule that a name breaks.
Repo parse_repo(std::string_view text, std::optional<RepoType> type);

// Turns a path in a repository, as the user wrote it, into the form that is sent: without a leading "/" or
// "./" and without trailing slashes; empty for ".". Throws kUsage for paths that lead out or that the Hub
// refuses.
std::string parse_repo_path(std::string_view text);

// Turns a revision, as the user wrote it, into the form that is sent: "%2F" becomes "/". Throws kUsage for
// text that can't be the name of a revision.
std::string parse_revision(std::string_view text);

// "hf://[datasets/|spaces/|models/]owner/name[@revision][/path]". A revision ends at the next "/"; one inside
// it is written %2F, except in refs/pr/N and refs/convert/NAME. Source: huggingface_hub 2.4.0
// (utils/_hf_uris.py).
struct RemotePlace {
  Repo repo;
  std::string revision = "main";
  std::string path;  // in the repository; empty: its root
  std::string name;  // the text before the path, as written
};
RemotePlace parse_place(std::string_view text);  // throws kUsage

// Why the Hub, or huggingface_hub when it downloads, would refuse a path; nothing if neither would.
std::optional<std::string> path_fault(std::string_view path);
// Why Windows can't have a file of that path; nothing if it can.
std::optional<std::string> portable_fault(std::string_view path);

}  // namespace mu
