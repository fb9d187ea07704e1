// SPDX-License-Identifier: Apache-2.0
// What a push does, path by path: a pure function from what lies here and what the hub says of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/api.h"
#include "hub/files.h"
#include "hub/hashes.h"

namespace mu {

enum class PushAction : std::uint8_t { kNew, kChanged, kSame, kIgnored, kDelete };
std::string_view push_action_name(PushAction action);  // "NEW"

// How a file is kept; nobody but the hub decides.
enum class Storage : std::uint8_t { kRegular, kLfs, kUnknown };
std::string_view storage_name(Storage storage);  // "regular", "lfs", "?"

struct PushItem {
  std::string name;  // in the repository
  PushAction action = PushAction::kNew;
  Storage storage = Storage::kUnknown;
  std::uint64_t size = 0;            // bytes; of a file to delete, those that go
  std::string oid;                   // SHA-256 or git blob id by storage; empty for kDelete and kUnknown
  const LocalFile* local = nullptr;  // of the FileChoice it was planned from
};

struct PushPlan {
  std::vector<PushItem> items;  // by name
  std::vector<LeftOutFile> left_out;

  [[nodiscard]] bool has_changes() const;
};

// Which hashes a file needs, by the hub's answer about it.
WantedHashes wanted_hashes(const PreuploadAnswer& answer);

// `answers` and `hashes` run beside choice.files; both empty where the hub was not asked (storage unknown).
// `remote` are the files that lie in the repository now, of which those that match one of `deletions` (below
// `prefix`) go, the root's .gitattributes and what is pushed excepted.
PushPlan plan_push(const FileChoice& choice, const std::vector<PreuploadAnswer>& answers,
                   const std::vector<FileHashes>& hashes, const std::vector<RemoteFile>& remote,
                   const std::vector<std::string>& deletions, const std::string& prefix);

// The items of a commit. Most pushes are one; beyond `max_files` items or kMaxRegularBytes of regular files
// another is begun. Deletions stand in the first.
std::vector<std::vector<const PushItem*>> split_commits(const PushPlan& plan, std::size_t max_files);
constexpr std::uint64_t kMaxRegularBytes = 256'000'000;  // documented bound of the Hub: about 1 GB
constexpr std::size_t kMaxCommitFiles = 20'000;          // documented bound of the Hub: 25,000 in LFS

}  // namespace mu
