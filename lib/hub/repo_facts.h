// SPDX-License-Identifier: Apache-2.0
// What a hub says about a repository, as values: api.h fetches them, plan.h compares them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace mu {

// Where a revision stands.
struct RevisionState {
  enum class Found : std::uint8_t { kYes, kNoRevision, kNoRepo } found = Found::kYes;
  std::string commit;              // 40 hex digits; empty for a repository without commits
  std::optional<bool> is_private;  // where the hub says
};

// How a hub would store a file, and what it has under that path.
struct PreuploadAnswer {
  bool lfs = false;
  bool ignored = false;
  std::string oid;  // SHA-256 (64 hex digits) or git blob id (40); empty where there is no such file
};

// A file in the repository.
struct RemoteFile {
  std::string path;
  std::uint64_t size = 0;  // bytes
  std::string blob;        // git blob id, of the pointer where the file is in LFS
  std::string sha256;      // where it is in LFS
};

}  // namespace mu
