// SPDX-License-Identifier: Apache-2.0
// What a push does, path by path: a pure function from what lies here and what the hub says about it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/files.h"
#include "hub/hashes.h"
#include "hub/repo_facts.h"

namespace mu {

enum class PushAction : std::uint8_t { kNew, kChanged, kSame, kIgnored, kDelete };
std::string_view push_action_name(PushAction action);  // "NEW"

// How a file is kept; only the hub decides.
enum class Storage : std::uint8_t { kRegular, kLfs, kUnknown };
std::string_view storage_name(Storage storage);  // "regular", "lfs", "?"

struct PushItem {
  std::string name;  // in the repository
  PushAction action = PushAction::kNew;
  Storage storage = Storage::kUnknown;
  std::uint64_t size = 0;            // bytes; of a file to delete, its size there
  std::string oid;                   // SHA-256 or git blob id by storage; empty for kDelete and kUnknown
  const LocalFile* local = nullptr;  // in the FileChoice it was planned from
  bool landed = false;               // a commit of this push has it
};

struct PushPlan {
  std::vector<PushItem> items;  // by name
  std::vector<LeftOutFile> left_out;

  [[nodiscard]] bool has_changes() const;
};

// Which hashes a file needs to be compared with the hub's answer about it.
WantedHashes wanted_hashes(const PreuploadAnswer& answer);

// `answers` and `hashes` are in the order of choice.files; both are empty if the hub was not asked (storage
// unknown). `remote` are the files in the repository now; those that match one of `deletions` (below
// `prefix`) are deleted, except for the root's .gitattributes and what is pushed.
PushPlan plan_push(const FileChoice& choice, const std::vector<PreuploadAnswer>& answers,
                   const std::vector<FileHashes>& hashes, const std::vector<RemoteFile>& remote,
                   const std::vector<std::string>& deletions, const std::string& prefix);

// Whether a push with these deletions deletes `path`, unless it pushes it.
bool is_deleted(const std::vector<std::string>& deletions, const std::string& prefix, std::string_view path);

// Cuts a plan into commits. Most pushes are one commit; another begins after `max_files` items or
// kMaxRegularBytes of regular files. Whoever reads the repository between two commits finds the old model or
// the new one: files that no loader begins with come first, then weights, then indexes and configs, then
// deletions, README.md last. Only what stands in the way of a file (a/b becomes a, or a becomes a/b) is
// deleted before all.
using CommitItems = std::vector<PushItem*>;
std::vector<CommitItems> split_commits(PushPlan& plan, std::size_t max_files);

// For commits that are too large for the hub: halves those with more than kSmallCommit items and keeps the
// order.
std::vector<CommitItems> halve_commits(const std::vector<CommitItems>& commits);
constexpr std::size_t kSmallCommit = 100;

// For a plan made again: items that have landed keep the action that was done, instead of being the same or
// gone.
void keep_landed(PushPlan& plan, const std::vector<PushItem>& before);

constexpr std::uint64_t kMaxRegularBytes = 256'000'000;  // documented bound of the Hub: about 1 GB
constexpr std::size_t kMaxCommitFiles = 20'000;          // documented bound of the Hub: 25,000 in LFS

}  // namespace mu
