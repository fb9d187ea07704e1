// SPDX-License-Identifier: Apache-2.0
// Bytes into a hub's storage by Git LFS: the hub is asked about objects in batches (lfs_batch.h), and what it
// lacks is sent to the links that it hands out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hub/api.h"
#include "hub/journal.h"
#include "hub/lfs_batch.h"

namespace mu {

struct UploadOptions {
  std::string revision;  // for the hub's early check of rights; empty for a pull request
  unsigned jobs = 8;     // requests at once
  std::function<void(std::uint64_t)> on_bytes;     // called with bytes that were sent, or were stored before
  std::function<void(const std::string&)> detail;  // called with a line for each object that is done
};

struct UploadCounts {
  std::uint64_t sent = 0, stored_before = 0;  // bytes
};

// The bytes that the hub does not have yet. Sends nothing.
std::uint64_t count_missing(HubApi& api, const std::vector<LfsObject>& objects, const std::string& revision);

// Sends what is missing, several files and pieces of files at once. Asks again for links that expire, and
// skips pieces that `journal` knows as sent. Throws kTemporary for a file that changed meanwhile.
UploadCounts upload_objects(HubApi& api, Journal& journal, const std::vector<LfsObject>& objects,
                            const UploadOptions& options);

}  // namespace mu
