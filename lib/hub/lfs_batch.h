// SPDX-License-Identifier: Apache-2.0
// What a hub's answer to a Git LFS batch request says about each object (git-lfs: docs/api/batch.md; the Hub's
// multipart form as huggingface_hub 2.4.0 reads it in lfs.py). Pure: JSON into values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "hub/files.h"
#include "net/http.h"

namespace mu {

struct LfsObject {
  std::string oid;         // SHA-256
  std::uint64_t size = 0;  // bytes
  const LocalFile* file = nullptr;
};

// How to bring one object into storage.
struct LfsUpload {
  std::string oid;
  std::uint64_t size = 0;  // bytes
  std::string href;        // PUT of the bytes, or POST that ends the pieces; empty: the hub has it already
  std::vector<HttpHeader> headers;  // of the PUT
  std::vector<std::string> pieces;  // PUT of each `chunk_size` bytes; empty: one PUT
  std::uint64_t chunk_size = 0;
  std::string verify_href;
  std::vector<HttpHeader> verify_headers;
  double expires = 0;  // Unix seconds; 0: not known
};

// The uploads for `asked`, in their order. `now` (Unix seconds) is what lifetimes count from. Throws kRemote
// for an unexpected answer, and for objects that the hub refuses.
std::vector<LfsUpload> parse_batch(const JsonValue& answer, const std::vector<LfsObject>& asked, double now);

}  // namespace mu
