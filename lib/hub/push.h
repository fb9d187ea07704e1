// SPDX-License-Identifier: Apache-2.0
// A push from beginning to end: look, plan, store every byte, then one commit.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "hub/commits.h"
#include "hub/files.h"
#include "hub/guard.h"
#include "hub/hashes.h"
#include "hub/lfs.h"
#include "hub/part.h"
#include "hub/plan.h"

namespace mu {

struct PushOptions {
  Repo repo;
  std::string revision = "main";
  std::string prefix;  // path in the repository; empty: its root
  CommitMessage message;
  std::vector<std::string> deletions;  // globs
  std::vector<std::string> allowed;    // rules of the guard that don't stop this push
  std::optional<bool> make_private;
  bool create = true;  // a repository that is missing
  bool create_pr = false;
  std::string expected_parent;  // refuse to push upon any other commit; empty: whichever
  std::string tag;
  bool dry_run = false, verify = false;
  std::size_t max_commit_files = kMaxCommitFiles;
  bool link = false;   // into a cache folder: hard links, not copies
  bool prune = false;  // of a cache folder: remove snapshots that no ref names, and blobs of no snapshot
  unsigned jobs = 8;
  std::string state;         // where journals are kept; empty: nowhere
  std::optional<Part> part;  // store the bytes of one part and commit nothing
};

// How a push tells what it does; every member may be called from any thread.
struct PushListener {
  std::function<void(const std::string&)> note, warning, detail;
  // Begins a phase of so many bytes; the result is told each piece of them.
  std::function<std::function<void(std::uint64_t)>(const std::string& what, std::uint64_t total)> progress;
};

struct PushResult {
  PushPlan plan;
  std::uint64_t bytes_to_send = 0;  // of a dry run: what the storage lacks, and regular files
  bool asked = true;                // the hub; else nobody knows what is there and what to send
  UploadCounts counts;
  bool created_repo = false;
  std::vector<std::string> commits;  // 40 hex digits each; none where nothing was to do
  std::string url;                   // of the commit, pull request or present state
  std::uint64_t pull_request = 0;    // its number; 0: none
  std::vector<PushItem> verified;    // with --verify: every file, both hashes compared
  std::optional<Error> failure;      // what came after a commit; the rest says what was done before it
};

// Pushes `choice`. Throws kRefused for what the guard stops, kRemote for what the hub refuses, kTemporary
// when it may go better later; then nothing was committed. What fails after a commit is in the result.
PushResult push(HubApi& api, const FileChoice& choice, HashCache& cache, Journal* journal,
                const PushOptions& options, const PushListener& listener);

// The hashes of the chosen files, from the cache or read, several files at once; beside choice.files. Throws
// as hash_file does.
std::vector<FileHashes> hash_files(const FileChoice& choice, const std::vector<WantedHashes>& wanted,
                                   HashCache& cache, const PushListener& listener);

// The text of a chosen file that will be called `name`, where there is one of at most 10 MiB.
std::optional<std::string> root_file(const FileChoice& choice, std::string_view name);

// Where the journal of a push lies; empty where there is no place for state.
std::string journal_path(const std::string& endpoint, const PushOptions& options);

}  // namespace mu
