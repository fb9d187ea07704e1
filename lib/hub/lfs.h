// SPDX-License-Identifier: Apache-2.0
// Bytes into a hub's storage by Git LFS: what the batch answer tells to do for each object (git-lfs:
// docs/api/batch.md; the Hub's multipart form as huggingface_hub's lfs.py reads it), and doing it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hub/api.h"
#include "hub/files.h"
#include "hub/journal.h"

namespace mu {

struct LfsObject {
  std::string oid;  // SHA-256
  std::uint64_t size = 0;
  const LocalFile* file = nullptr;
};

// The answers for `asked`, in their order. `now` (Unix seconds) is what lifetimes count from. Throws kRemote
// for an answer that makes no sense, and for objects that the hub refuses.
std::vector<LfsUpload> parse_batch(const JsonValue& answer, const std::vector<LfsObject>& asked, double now);

struct UploadOptions {
  std::string revision;  // for the hub's early check of rights; empty for a pull request
  unsigned jobs = 8;     // requests at once
  std::function<void(std::uint64_t)> on_bytes;     // sent, or found stored already
  std::function<void(const std::string&)> detail;  // a line an object that is done
};

struct UploadCounts {
  std::uint64_t sent = 0, stored_before = 0;  // bytes
};

// What the hub does not have yet, in bytes; sends nothing.
std::uint64_t count_missing(HubApi& api, const std::vector<LfsObject>& objects, const std::string& revision);

// Sends what is missing, files and parts of files side by side. Links that expire are asked for again; parts
// that `journal` knows as sent are not sent again. Throws kTemporary for a file that changed meanwhile.
UploadCounts upload_objects(HubApi& api, Journal& journal, const std::vector<LfsObject>& objects,
                            const UploadOptions& options);

}  // namespace mu
