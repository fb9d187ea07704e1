// SPDX-License-Identifier: Apache-2.0
#include "os/blobs.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "os/folder.h"

namespace mu {
namespace {

// The hex digits of SHA-1 or SHA-256; Ollama writes "sha256-" before them.
bool is_hash(std::string_view name) {
  constexpr std::string_view kAlgorithm = "sha256-";
  if (name.starts_with(kAlgorithm)) name.remove_prefix(kAlgorithm.size());
  return is_blob_hash(name);
}

// Whether a folder keeps its blobs as the Hugging Face cache keeps those of a repository.
bool is_cached_repo(const std::string& folder) {
  return is_cached_repo_name(base_name(folder)) || is_folder(join_path(folder, "snapshots"));
}

}  // namespace

bool is_blob_hash(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) && is_lower_hex(text);
}

bool is_cached_repo_name(std::string_view name) {
  return name.starts_with("models--") || name.starts_with("datasets--") || name.starts_with("spaces--") ||
         name.starts_with("kernels--");
}

bool lies_in_blobs(const std::string& real_path) {
  constexpr std::string_view kBlobs = "/blobs";
  for (std::size_t at = real_path.find(kBlobs); at != std::string::npos;
       at = real_path.find(kBlobs, at + 1)) {
    const std::size_t end = at + kBlobs.size();
    if (end != real_path.size() && real_path[end] != '/') continue;
    if (is_cached_repo(real_path.substr(0, at)) || is_hash(base_name(real_path))) return true;
  }
  return false;
}

}  // namespace mu
